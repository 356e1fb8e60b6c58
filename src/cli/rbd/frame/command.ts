import type { Arguments } from './option-spec.ts'
import type { CommandContext } from './context.ts'

/** One command of `rbd`. What stands in help is the C++ tool's text, for scripts and people know it. */
export interface Command {
  /** e.g. ['mirror', 'pool', 'info'] */
  path: readonly string[]
  /** another way to say it, e.g. ['snap', 'ls'] */
  alias?: readonly string[]
  description: string
  /** what stands below the options in its help */
  help?: string
  arguments: Arguments
  /** Resolves when done, with an exit status other than 0 if it likes; rejects with CommandFailure. */
  execute(context: CommandContext): Promise<number | void>
}
