import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ClusterProcessOptions {
  readonly name: string
  readonly command: readonly string[]
  readonly pidFile: string
  /** Text that the process's command line must hold for the pid file to be believed. */
  readonly mark: string
  /** True: survives us. False: the kernel kills it when we die. */
  readonly detached: boolean
  readonly outputFile: number
}

/** One daemon of a test cluster: started, signalled and ended by its pid. */
export class ClusterProcess {
  private child: ChildProcess | undefined

  constructor(private readonly options: ClusterProcessOptions) {}

  get pid(): number | undefined {
    return runningPid(this.options.pidFile, this.options.mark)
  }

  start(): void {
    if (this.pid !== undefined) throw new Error(`${this.options.name} runs already`)
    const { command, detached, outputFile } = this.options
    // The parent-death signal ends the daemon with the test process, however that dies.
    const [program = '', ...args] = detached ? command : ['setpriv', '--pdeathsig', 'KILL', ...command]
    const child = spawn(program, args, { detached, stdio: ['ignore', outputFile, outputFile] })
    if (child.pid === undefined) {
      child.once('error', () => undefined)
      throw new Error(`${program} could not be started: is it installed?`)
    }
    child.unref()
    this.child = child
    writeFileSync(this.options.pidFile, `${child.pid}\n`)
  }

  signal(signal: NodeJS.Signals): void {
    const pid = this.pid
    if (pid === undefined) throw new Error(`${this.options.name} does not run`)
    process.kill(pid, signal)
  }

  /** SIGSTOP; resolves when no thread of it does anything any more. */
  async pause(): Promise<void> {
    this.signal('SIGSTOP')
    const tasks = `/proc/${this.pid}/task`
    while (!readdirSync(tasks).every((task) => 'TZ'.includes(stateOf(`${tasks}/${task}`) ?? 'Z'))) await sleep(1)
  }

  /** SIGTERM (SIGKILL when it takes longer than `patience` milliseconds, or at once with 0), until it is gone. */
  async end(patience: number): Promise<void> {
    const pid = this.pid
    if (pid !== undefined) {
      process.kill(pid, 'SIGCONT')
      if (patience > 0) process.kill(pid, 'SIGTERM')
      const deadline = Date.now() + patience
      while (isRunning(pid) && Date.now() < deadline) await sleep(20)
      if (isRunning(pid)) process.kill(pid, 'SIGKILL')
      while (isRunning(pid)) await sleep(10)
    }
    rmSync(this.options.pidFile, { force: true })
    this.child = undefined
  }

  /** Set when the process, started by us, has ended by itself. */
  get exitStatus(): string | undefined {
    const child = this.child
    if (!child || (child.exitCode === null && child.signalCode === null)) return undefined
    return child.signalCode ?? `exit status ${child.exitCode}`
  }
}

/** The pid in a pid file when that process lives and its command line holds `mark`. */
export function runningPid(pidFile: string, mark: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'))
    if (!Number.isInteger(pid) || pid <= 1 || !isRunning(pid)) return undefined
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark) ? pid : undefined
  } catch {
    return undefined
  }
}

/** True while the process exists and is no zombie. */
export function isRunning(pid: number): boolean {
  const state = stateOf(`/proc/${pid}`)
  return state !== undefined && state !== 'Z'
}

/** The letter by which Linux tells what a process or thread does; undefined when it is gone. */
function stateOf(folder: string): string | undefined {
  try {
    const stat = readFileSync(`${folder}/stat`, 'utf8')
    return stat.charAt(stat.lastIndexOf(')') + 2)
  } catch {
    return undefined
  }
}
