import { rmSync, writeFileSync } from 'node:fs'
import { ConfigError } from '../../config/config-error.ts'
import { cluster } from '../cluster/cluster.ts'
import { runRbd } from '../rbd/frame/run.ts'
import type { Terminal } from '../rbd/frame/terminal.ts'

/** Runs the documented commands in this process, after showing them as an operator would type them. */
export class Commands {
  constructor(private readonly print: (line: string) => void) {}

  show(line: string): void {
    this.print(`$ ${line}`)
  }

  /** @throws ConfigError with what the command said */
  async rbd(...args: string[]): Promise<void> {
    this.show(`rbd ${args.join(' ')}`)
    const { status, said } = await this.tryRbd(...args)
    if (status !== 0) throw new ConfigError(`"rbd ${args.join(' ')}" failed with ${status}: ${said.trim()}`)
  }

  /** Without showing it. */
  async tryRbd(...args: string[]): Promise<{ status: number; output: string; said: string }> {
    let output = ''
    let said = ''
    const terminal: Terminal = {
      out: (text) => void (output += typeof text === 'string' ? text : Buffer.from(text).toString()),
      err: (text) => void (said += text),
      readInput: () => Promise.resolve(Buffer.alloc(0)),
      flush: () => Promise.resolve(),
      inputIsTty: false,
      outputIsTty: false,
    }
    const status = await runRbd(args, { terminal, environment: process.env })
    return { status, output, said }
  }

  /** Puts the command's output into a file that is for its owner alone. */
  async rbdTo(file: string, ...args: string[]): Promise<void> {
    this.show(`rbd ${args.join(' ')} > ${file}`)
    const { status, output, said } = await this.tryRbd(...args)
    if (status !== 0) throw new ConfigError(`"rbd ${args.join(' ')}" failed with ${status}: ${said.trim()}`)
    writeFileSync(file, output, { mode: 0o600 })
  }

  async cluster(...args: string[]): Promise<void> {
    this.show(`rbd-mirror cluster ${args.join(' ')}`)
    const status = await cluster(args)
    if (status !== 0) throw new ConfigError(`"rbd-mirror cluster ${args.join(' ')}" failed with ${status}`)
  }

  removeFile(file: string): void {
    this.show(`rm ${file}`)
    rmSync(file)
  }
}
