import type { Command } from '../frame/command.ts'
import { benchCommand } from './bench-command.ts'
import { createCommands } from './create-commands.ts'
import { diffCommands } from './diff-commands.ts'
import { exportCommand } from './export-command.ts'
import { importCommand } from './import-command.ts'
import { imageOperationCommands } from './image-commands.ts'
import { infoCommand } from './info-command.ts'
import { journalCommands } from './journal-commands.ts'
import { listCommand } from './list-command.ts'
import { lookCommands } from './look-commands.ts'
import { mergeDiffCommand } from './merge-diff-command.ts'
import { metadataCommands } from './metadata-commands.ts'
import { poolCommands } from './pool-commands.ts'
import { snapCommands } from './snap-commands.ts'
import { trashCommands } from './trash-commands.ts'
import { usageCommand } from './usage-command.ts'

/** Commands about images, snapshots, namespaces, pools, the trash and journals. */
export const imageCommands: readonly Command[] = [
  ...createCommands,
  listCommand,
  infoCommand,
  ...imageOperationCommands,
  ...snapCommands,
  importCommand,
  exportCommand,
  ...diffCommands,
  mergeDiffCommand,
  benchCommand,
  ...metadataCommands,
  ...poolCommands,
  ...trashCommands,
  ...journalCommands,
  ...lookCommands,
  usageCommand,
]
