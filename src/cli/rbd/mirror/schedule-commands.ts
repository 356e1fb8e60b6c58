import type { Command } from '../frame/command.ts'
export const scheduleCommands: readonly Command[] = []
