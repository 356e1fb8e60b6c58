import type { Command } from '../frame/command.ts'
import { mirrorImageCommands } from './image-commands.ts'
import { mirrorPeerCommands } from './peer-commands.ts'
import { mirrorPoolCommands } from './pool-commands.ts'
import { scheduleCommands } from './schedule-commands.ts'

export const mirrorCommands: readonly Command[] = [...mirrorPoolCommands, ...mirrorPeerCommands, ...mirrorImageCommands, ...scheduleCommands]
