import type { EmulatedCluster } from './cluster.ts'

/** What a command answers: text, or a value that is shown as JSON; `status` goes to standard error. */
export interface Answer {
  output?: string | object
  status?: string
}

export interface CommandContext {
  readonly cluster: EmulatedCluster
  readonly input: Buffer
  /** An argument that has to be there. @throws CommandFailure EINVAL */
  text(name: string): string
  optional(name: string): string | undefined
  readonly args: Readonly<Record<string, unknown>>
  readonly json: boolean
}

export type Command = (context: CommandContext) => Promise<Answer> | Answer

/** A command that does not succeed: an answer, not an exception of the caller's. */
export class CommandFailure extends Error {
  constructor(
    readonly code: number,
    status: string,
  ) {
    super(status)
    this.name = 'CommandFailure'
  }
}
