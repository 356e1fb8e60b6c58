import type { Command } from '../frame/command.ts'
import { createCommands } from './create-commands.ts'
import { imageOperationCommands } from './image-commands.ts'
import { infoCommand } from './info-command.ts'
import { listCommand } from './list-command.ts'
import { snapCommands } from './snap-commands.ts'

/** Commands about images, snapshots, namespaces, pools, the trash and journals. */
export const imageCommands: readonly Command[] = [...createCommands, listCommand, infoCommand, ...imageOperationCommands, ...snapCommands]
