import type { Command } from '../frame/command.ts'

/** Commands about images, snapshots, namespaces, pools, the trash and journals. */
export const imageCommands: readonly Command[] = []
