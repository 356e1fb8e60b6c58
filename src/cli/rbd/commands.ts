import type { Command } from './frame/command.ts'
import { imageCommands } from './image/commands.ts'
import { mirrorCommands } from './mirror/commands.ts'

/** All commands of `rbd`. */
export const commands: readonly Command[] = [...imageCommands, ...mirrorCommands]
