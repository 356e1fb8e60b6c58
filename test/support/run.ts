import { spawn } from 'node:child_process'

export interface RunResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Killed by us, because it did not end in time. */
  readonly late: boolean
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly input?: string | Buffer
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Milliseconds after which the command is killed. */
  readonly timeout?: number
}

/** Shorter than a test or a hook may take, so that a failure names the command. */
const TIMEOUT_MS = 60_000
const REPEAT_AFTER_MS = 20_000

/** A command that ended with another status than 0. */
export class CommandFailed extends Error {
  constructor(
    readonly command: readonly string[],
    readonly result: RunResult,
  ) {
    const end = result.late ? 'did not end in time' : result.signal ? `killed by ${result.signal}` : `exit status ${result.code}`
    super(`${command.join(' ')}: ${end}\n${result.stderr.trim()}\n${result.stdout.slice(-2000).trim()}`.trim())
    this.name = 'CommandFailed'
  }
}

/** Runs a command to its end, whatever its exit status. */
export function tryRun(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program, ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(program ?? '', args, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    })
    let late = false
    const timer = setTimeout(() => (late = child.kill('SIGKILL')), options.timeout ?? TIMEOUT_MS)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, late, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() })
    })
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(options.input)
  })
}

/** Runs a command and returns its standard output; any exit status but 0 throws CommandFailed. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await tryRun(command, options)
  if (result.code !== 0) throw new CommandFailed(command, result)
  return result.stdout
}

/**
 * Runs a command that may be repeated: one that hangs is killed and run once more, and the report says so. (On a busy machine a stock
 * client may never come to an end, and hooks have no second try.)
 */
export async function runAgain(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await tryRun(command, { timeout: REPEAT_AFTER_MS, ...options })
  if (result.code === 0) return result.stdout
  if (!result.late) throw new CommandFailed(command, result)
  console.warn(`${command.join(' ')}: did not end within ${options.timeout ?? REPEAT_AFTER_MS} ms, is run again`)
  return run(command, options)
}
