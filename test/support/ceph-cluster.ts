import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import { cephConf, cephxSecret, keyring, PORTS_PER_CLUSTER, type CephUser, type ObjectStore } from './ceph-conf.ts'
import { ClusterProcess } from './cluster-process.ts'
import { freePorts } from './ports.ts'
import { run, runAgain, tryRun, type RunOptions, type RunResult } from './run.ts'
import { waitFor } from './wait.ts'

export interface CephClusterOptions {
  /** Cluster name; the configuration file is `FOLDER/NAME.conf`, all else lives in `FOLDER/NAME/`. */
  readonly name: string
  readonly folder: string
  readonly firstPort?: number
  readonly objectStore?: ObjectStore
  /** Bytes; a memstore takes memory only for what is written. */
  readonly storeSize?: number
  readonly quickPaxos?: boolean
  /** Without a manager `ceph -s` and the service map do not work, but RADOS does. */
  readonly manager?: boolean
  /** The daemons outlive the process that starts them. */
  readonly detached?: boolean
  readonly options?: Readonly<Record<string, string>>
}

export type DaemonName = 'mon.x' | 'mgr.x' | 'osd.0'

/** Users made with the caps that the manual gives a mirroring daemon, and nothing more. */
export const MIRROR_USERS = ['client.rbd-mirror.a', 'client.rbd-mirror.b', 'client.rbd-mirror.c', 'client.mirror']
const MIRROR_CAPS = { mon: 'profile rbd-mirror', osd: 'profile rbd' }

const REQUIRED_PROGRAMS = ['ceph-mon', 'ceph-osd', 'ceph-mgr', 'ceph', 'rbd', 'rbd-mirror', 'monmaptool', 'setpriv']
export const INSTALL_CEPH = 'apt-get install -y --no-install-recommends ceph-mon ceph-osd ceph-mgr ceph-common rbd-mirror'

/** The programs of Ceph that are missing from PATH; empty when real clusters can be started. */
export function missingCephPrograms(): string[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return REQUIRED_PROGRAMS.filter((program) => !folders.some((folder) => existsSync(join(folder, program))))
}

/** A real Ceph cluster on loopback: one monitor, one manager, one OSD, everything below one folder. */
export class CephCluster {
  readonly name: string
  /** The configuration file, for `-c`; keyrings of all users are named in it. */
  readonly conf: string
  readonly folder: string
  private readonly processes: Record<DaemonName, ClusterProcess>
  private readonly output: number
  /** A memstore lives as long as its OSD process, unless that one ends by SIGTERM. */
  readonly objectStore: ObjectStore

  private constructor(private readonly options: CephClusterOptions) {
    this.name = options.name
    this.folder = join(options.folder, options.name)
    this.conf = join(options.folder, `${options.name}.conf`)
    this.objectStore = options.objectStore ?? 'memstore'
    for (const folder of ['', 'run', 'log', 'keyring', 'crash', 'mon', 'mgr', 'osd']) mkdirSync(join(this.folder, folder), { recursive: true })
    this.output = openSync(join(this.folder, 'log', 'output.log'), 'a')
    this.processes = {
      'mon.x': this.process('mon.x', ['ceph-mon', '-i', 'x']),
      'mgr.x': this.process('mgr.x', ['ceph-mgr', '-i', 'x']),
      'osd.0': this.process('osd.0', ['ceph-osd', '-i', '0']),
    }
  }

  /** Makes the cluster and starts its daemons; an earlier cluster in the same folder is ended and removed first. */
  static async start(options: CephClusterOptions): Promise<CephCluster> {
    await CephCluster.remove(options)
    const cluster = new CephCluster(options)
    try {
      await cluster.create()
    } catch (error) {
      await cluster.close()
      throw error
    }
    return cluster
  }

  /** A cluster that another process started (detached) in `folder`. */
  static attach(folder: string, name: string): CephCluster {
    if (!existsSync(join(folder, `${name}.conf`))) throw new Error(`no cluster ${name} in ${folder}`)
    return new CephCluster({ folder, name })
  }

  /** Ends what runs of a cluster and removes its files. */
  static async remove(options: Pick<CephClusterOptions, 'folder' | 'name'>): Promise<void> {
    if (!existsSync(join(options.folder, options.name))) return
    const cluster = new CephCluster(options)
    await cluster.close()
    rmSync(cluster.folder, { recursive: true, force: true })
    rmSync(cluster.conf, { force: true })
  }

  private process(name: DaemonName, command: readonly string[]): ClusterProcess {
    return new ClusterProcess({
      name: `${name} of ${this.name}`,
      command: [...command, '-c', this.conf, '-f'],
      pidFile: join(this.folder, 'run', `${name}.pid`),
      mark: this.conf,
      detached: this.options.detached ?? false,
      outputFile: this.output,
    })
  }

  private async create(): Promise<void> {
    const { options } = this
    const fsid = randomUUID()
    const osdUuid = randomUUID()
    const firstPort = options.firstPort ?? (await freePorts(PORTS_PER_CLUSTER))
    writeFileSync(
      this.conf,
      cephConf({
        fsid,
        folder: this.folder,
        firstPort,
        objectStore: this.objectStore,
        storeSize: options.storeSize ?? 8 * 2 ** 30,
        quickPaxos: options.quickPaxos ?? true,
        options: options.options ?? {},
      }),
    )
    const user = (name: string, caps: Record<string, string>): CephUser => ({ name, secret: cephxSecret(), caps })
    const users = [
      user('client.admin', { mon: 'allow *', osd: 'allow *', mds: 'allow *', mgr: 'allow *' }),
      user('mgr.x', { mon: 'allow profile mgr', osd: 'allow *', mds: 'allow *' }),
      user('osd.0', { mon: 'allow profile osd', mgr: 'allow profile osd', osd: 'allow *' }),
      ...MIRROR_USERS.map((name) => user(name, MIRROR_CAPS)),
    ]
    for (const one of users) writeFileSync(join(this.folder, 'keyring', `${one.name}.keyring`), keyring([one]), { mode: 0o600 })
    const initial = join(this.folder, 'keyring', 'initial')
    writeFileSync(initial, keyring([user('mon.', { mon: 'allow *' }), ...users]), { mode: 0o600 })
    const monmap = join(this.folder, 'monmap')
    const address = `[v2:127.0.0.1:${firstPort},v1:127.0.0.1:${firstPort + 1}]`
    await run(['monmaptool', '--create', '--fsid', fsid, '--addv', 'x', address, monmap])
    await run(['ceph-mon', '-c', this.conf, '--mkfs', '-i', 'x', '--monmap', monmap, '--keyring', initial])

    this.processes['mon.x'].start()
    await Promise.all([
      run(['ceph-osd', '-c', this.conf, '-i', '0', '--mkfs', '--osd-uuid', osdUuid, '--monmap', monmap]),
      this.waitForState('mon.x', 'mon_status', 'leader').then(() => this.ceph('osd', 'new', osdUuid, '0')),
    ])
    this.processes['osd.0'].start()
    if (options.manager ?? true) {
      // The module would make a pool of its own.
      await this.ceph('config', 'set', 'mgr', 'mgr/devicehealth/enable_monitoring', 'false', '--force')
      this.processes['mgr.x'].start()
    }
    await this.waitForState('osd.0', 'status', 'active')
    if (options.manager ?? true) await this.waitForManager()
  }

  /** Until the manager is the active one: only then the service map is kept. */
  private async waitForManager(): Promise<void> {
    await waitFor(`mgr.x of ${this.name} to be active`, async () => (await this.cephJson<{ available: boolean }>('mgr', 'stat')).available, {
      timeout: 180_000,
      interval: 100,
    })
  }

  private async waitForState(daemon: DaemonName, command: string, state: string): Promise<void> {
    const process = this.processes[daemon]
    await waitFor(
      `${daemon} of ${this.name} to be ${state}`,
      async () => {
        if (process.exitStatus !== undefined) return { ended: process.exitStatus }
        const answer = JSON.parse(await askAdminSocket(this.adminSocket(daemon), command)) as { state?: string }
        return answer.state === state ? answer : undefined
      },
      { timeout: 120_000, interval: 30 },
    ).then((seen) => {
      if ('ended' in seen) throw new Error(`${daemon} of ${this.name} ended with ${seen.ended}:\n${this.lastOutput()}`)
    })
  }

  private lastOutput(): string {
    return readFileSync(join(this.folder, 'log', 'output.log'), 'utf8').slice(-2000)
  }

  adminSocket(daemon: DaemonName): string {
    return join(this.folder, 'run', `${daemon}.asok`)
  }

  keyringOf(user: string): string {
    return join(this.folder, 'keyring', `${user}.keyring`)
  }

  secretOf(user: string): string {
    return /key = (\S+)/.exec(readFileSync(this.keyringOf(user), 'utf8'))?.[1] ?? ''
  }

  get monHost(): string {
    return /mon host = (.*)/.exec(readFileSync(this.conf, 'utf8'))?.[1] ?? ''
  }

  pid(daemon: DaemonName): number | undefined {
    return this.processes[daemon].pid
  }

  /** Starts one daemon again and waits until it serves. */
  async startDaemon(daemon: DaemonName): Promise<void> {
    rmSync(this.adminSocket(daemon), { force: true })
    this.processes[daemon].start()
    if (daemon === 'mon.x') await this.waitForState(daemon, 'mon_status', 'leader')
    if (daemon === 'osd.0') await this.waitForState(daemon, 'status', 'active')
    if (daemon === 'mgr.x') await this.waitForManager()
  }

  /** Ends one daemon cleanly (a memstore is saved to its folder and loaded at the next start). */
  async stopDaemon(daemon: DaemonName): Promise<void> {
    await this.processes[daemon].end(60_000)
  }

  /** SIGKILL. A memstore OSD loses its contents with it: use bluestore where they must survive. */
  async killDaemon(daemon: DaemonName): Promise<void> {
    await this.processes[daemon].end(0)
  }

  /** SIGSTOP: connections stay open and nothing answers. */
  pauseDaemon(daemon: DaemonName): Promise<void> {
    return this.processes[daemon].pause()
  }

  resumeDaemon(daemon: DaemonName): void {
    this.processes[daemon].signal('SIGCONT')
  }

  /** The whole cluster stops answering. */
  async pause(): Promise<void> {
    await Promise.all(this.runningDaemons().map((daemon) => this.pauseDaemon(daemon)))
  }

  resume(): void {
    for (const daemon of this.runningDaemons()) this.resumeDaemon(daemon)
  }

  private runningDaemons(): DaemonName[] {
    return (Object.keys(this.processes) as DaemonName[]).filter((daemon) => this.pid(daemon) !== undefined)
  }

  /** `ceph …` as client.admin, such as may be repeated (see `runAgain`); its standard output. */
  ceph(...args: string[]): Promise<string> {
    return runAgain(['ceph', '-c', this.conf, ...args])
  }

  async cephJson<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ceph(...args, '--format', 'json')) as T
  }

  /** `rbd …` as client.admin; its standard output. */
  rbd(...args: string[]): Promise<string> {
    return run(['rbd', '-c', this.conf, ...args])
  }

  async rbdJson<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.rbd(...args, '--format', 'json')) as T
  }

  /** `rbd …` that may be repeated (see `runAgain`); its standard output. */
  rbdAgain(args: readonly string[], options?: RunOptions): Promise<string> {
    return runAgain(['rbd', '-c', this.conf, ...args], options)
  }

  /** `rbd …`, whatever its exit status. */
  tryRbd(args: readonly string[], options?: RunOptions): Promise<RunResult> {
    return tryRun(['rbd', '-c', this.conf, ...args], options)
  }

  rados(...args: string[]): Promise<string> {
    return run(['rados', '-c', this.conf, ...args])
  }

  async createPool(name: string): Promise<void> {
    await this.ceph('osd', 'pool', 'create', name, '8')
    await this.rbdAgain(['pool', 'init', name])
  }

  async deletePool(name: string): Promise<void> {
    await this.ceph('osd', 'pool', 'delete', name, name, '--yes-i-really-really-mean-it')
  }

  /** Counters of the OSD's `perf dump`, e.g. `osd.op_in_bytes`. */
  async osdCounters(): Promise<{ osd: Record<string, number> }> {
    return JSON.parse(await askAdminSocket(this.adminSocket('osd.0'), 'perf dump')) as { osd: Record<string, number> }
  }

  /** Ends all daemons at once, without saving anything. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.processes).map((process) => process.end(0)))
    try {
      closeSync(this.output)
    } catch {
      // closed already: closing twice is fine
    }
  }
}
