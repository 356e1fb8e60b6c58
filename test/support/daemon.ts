import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import { waitFor } from './wait.ts'

/** Which program: ours from the sources, ours as built by `npm run build`, or Ceph's own. */
export type DaemonKind = 'source' | 'dist' | 'stock'

export interface MirrorDaemonOptions {
  readonly kind?: DaemonKind
  /** Working directory: holds `NAME.conf` of the local and the remote cluster. Log, output and admin socket go there too. */
  readonly folder: string
  /** Name of the local cluster. */
  readonly cluster: string
  /** Ceph user without `client.`. */
  readonly id?: string
  readonly args?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
let started = 0
/** The daemons that were started last, two sites' at least. */
const latest: MirrorDaemon[] = []
const REMEMBERED = 3
const MAX_LINE = 500

/** A running rbd-mirror daemon, ours or the stock one, with its log captured. It dies with the test process. */
export class MirrorDaemon implements AsyncDisposable {
  readonly logFile: string
  readonly outputFile: string
  readonly adminSocket: string
  private readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Milliseconds since the epoch. */
  readonly startedAt: number

  private constructor(
    private readonly child: ChildProcess,
    readonly pid: number,
    readonly kind: DaemonKind,
    files: { log: string; output: string; socket: string },
  ) {
    this.logFile = files.log
    this.outputFile = files.output
    this.adminSocket = files.socket
    this.startedAt = Date.now()
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  }

  static start(options: MirrorDaemonOptions): MirrorDaemon {
    const { kind = 'source', folder, cluster, id = 'rbd-mirror.b' } = options
    const base = join(folder, `daemon-${process.pid}-${++started}`)
    const files = { log: `${base}.log`, output: `${base}.out`, socket: `${base}.asok` }
    const args = ['-f', '--cluster', cluster, '--id', id, `--log-file=${files.log}`, `--admin-socket=${files.socket}`, ...(options.args ?? [])]
    const output = openSync(files.output, 'a')
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...programOf(kind), ...args], {
      cwd: folder,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', output, output],
    })
    closeSync(output)
    if (child.pid === undefined) {
      child.once('error', () => undefined)
      throw new Error('the daemon could not be started: is setpriv (util-linux) installed?')
    }
    const daemon = new MirrorDaemon(child, child.pid, kind, files)
    latest.push(daemon)
    if (latest.length > REMEMBERED) latest.shift()
    return daemon
  }

  /** Those that run, and the last that ended. */
  static lately(): readonly MirrorDaemon[] {
    return latest
  }

  /** The end of its log, for whoever has to find out why a test failed. */
  lastLines(count: number): string {
    const lines = (this.log() || this.output()).trimEnd().split('\n').slice(-count)
    const shown = lines.map((line) => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line))
    return [`the last ${lines.length} lines of ${this.kind} daemon ${this.pid}${this.running ? '' : ' (ended)'}:`, ...shown].join('\n')
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : ''
  }

  output(): string {
    return readFileSync(this.outputFile, 'utf8')
  }

  /** Waits for a line in the log (or on the standard output) and returns the match. */
  waitForLog(pattern: RegExp, timeout = 30_000): Promise<RegExpExecArray> {
    return waitFor(`the daemon's log to match ${String(pattern)}`, () => pattern.exec(this.log()) ?? pattern.exec(this.output()), {
      timeout,
      interval: 50,
      detail: () => (this.log() + this.output()).slice(-2000),
    })
  }

  /** Sends words to the admin socket; the raw answer. */
  admin(command: string, args?: Readonly<Record<string, unknown>>): Promise<string> {
    return askAdminSocket(this.adminSocket, command, args)
  }

  /** Sets an option while it runs. */
  async setOption(name: string, value: string): Promise<void> {
    await this.admin('config set', { var: name, val: [value] })
  }

  /** Waits until the admin socket answers: the daemon is up. */
  async waitUntilUp(timeout = 20_000): Promise<void> {
    await waitFor(
      'the admin socket to answer',
      async () => {
        if (!this.running) return { ended: this.output().slice(-2000) }
        return (await this.admin('rbd mirror status')) ? {} : undefined
      },
      { timeout, interval: 50, detail: () => (this.log() + this.output()).slice(-2000) },
    ).then((seen) => {
      if ('ended' in seen) throw new Error(`the daemon ended: ${seen.ended}`)
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Waits for the end of the process. */
  async exit(timeout = 30_000): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const timer = new AbortController()
    const late = new Promise<never>((_, reject) => {
      const handle = setTimeout(
        () => reject(new Error(`the daemon did not end within ${timeout} ms:\n${(this.log() + this.output()).slice(-3000)}`)),
        timeout,
      )
      timer.signal.addEventListener('abort', () => clearTimeout(handle))
    })
    try {
      return await Promise.race([this.exited, late])
    } finally {
      timer.abort()
    }
  }

  /** SIGTERM; milliseconds until it was gone. Fails unless it ended with status 0 (the stock daemon has them swapped: 1) and in time. */
  async stop(timeout = 30_000): Promise<number> {
    const from = performance.now()
    this.signal('SIGTERM')
    const { code, signal } = await this.exit(timeout)
    if (code !== (this.kind === 'stock' ? 1 : 0))
      throw new Error(`after SIGTERM the daemon ended with ${signal ?? code}:\n${(this.log() + this.output()).slice(-3000)}`)
    return performance.now() - from
  }

  /** SIGKILL: nothing is cleaned up. */
  async kill(): Promise<void> {
    if (this.running) this.signal('SIGKILL')
    await this.exited
  }

  /** Peak resident memory so far, bytes (VmHWM). */
  peakMemory(): number {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  }

  /** Resident memory now, bytes. */
  residentMemory(): number {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  }

  /** CPU seconds used so far, user and system. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

/** USER_HZ: the unit of /proc/PID/stat on every Linux that Ceph runs on. */
const CLOCK_TICKS_PER_SECOND = 100

function programOf(kind: DaemonKind): string[] {
  switch (kind) {
    case 'stock':
      return ['rbd-mirror']
    case 'dist':
      return [process.execPath, join(ROOT, 'dist/cli/rbd-mirror.cjs')]
    case 'source':
      return [process.execPath, '--import', createRequire(import.meta.url).resolve('tsx'), join(ROOT, 'src/cli/rbd-mirror.ts')]
  }
}
