import type { Command } from '../frame/command.ts'
export const mirrorPeerCommands: readonly Command[] = []
