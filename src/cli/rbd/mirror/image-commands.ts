import type { Command } from '../frame/command.ts'
export const mirrorImageCommands: readonly Command[] = []
