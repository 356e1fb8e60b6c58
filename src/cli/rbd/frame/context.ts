import { systemClock } from '../../../base/clock.ts'
import { silentLog, type Log } from '../../../base/log.ts'
import { systemRandom } from '../../../base/random.ts'
import type { Configuration } from '../../../config/load-configuration.ts'
import { namespaceExists } from '../../../rbd/namespaces.ts'
import type { Cluster } from '../../../rados/cluster.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, isErrno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { Image, type ImageOptions } from '../../../rbd/image.ts'
import type { BootstrapToken } from '../../../rbd/mirror/bootstrap-token.ts'
import { standardLockPolicy, type LockPolicy } from '../../../rbd/lock-policy.ts'
import type { Format } from './common-options.ts'
import { attempt, CommandFailure, invalid } from './failure.ts'
import { createFormatter, type Formatter } from './formatter.ts'
import type { ParsedArguments } from './parsed-arguments.ts'
import { Progress } from './progress.ts'
import type { PoolName } from './specs.ts'
import type { Terminal } from './terminal.ts'

/** Makes the one connection of a command. */
export type Connect = (configuration: Configuration, signal: AbortSignal) => Promise<Cluster>

/** What a command has at hand. All that is opened through it is closed with it. */
export class CommandContext {
  private connected: Promise<Cluster> | undefined
  private readonly closers: (() => void | Promise<void>)[] = []

  constructor(
    readonly args: ParsedArguments,
    readonly configuration: Configuration,
    readonly terminal: Terminal,
    readonly signal: AbortSignal,
    private readonly connect: Connect,
  ) {}

  /** A line on stdout. */
  line(text = ''): void {
    this.terminal.out(`${text}\n`)
  }

  /** A line on stderr: `rbd: TEXT`. */
  complain(text: string): void {
    this.terminal.err(`rbd: ${text}\n`)
  }

  /**
   * A line on stderr as the C++ tool's library logs it, with time and thread: for what is told in no other way.
   * @param text e.g. `librbd::api::Mirror: image_enable: cannot enable …`
   */
  logError(text: string): void {
    const time = new Date().toISOString().replace('Z', '+0000')
    this.terminal.err(`${time} ${process.pid.toString(16).padStart(12, '0')} -1 ${text}\n`)
  }

  /** The formatter that `--format` and `--pretty-format` ask for; undefined for plain text. @throws CommandFailure */
  formatter(): Formatter | undefined {
    const format = this.args.value<Format>('format') ?? 'plain'
    const pretty = this.args.flag('pretty-format')
    if (format !== 'plain') return createFormatter(format, pretty)
    if (pretty) throw invalid('--pretty-format only works when --format is json or xml')
    return undefined
  }

  progress(operation: string): Progress {
    return new Progress(this.terminal, operation, !this.args.flag('no-progress'))
  }

  cluster(): Promise<Cluster> {
    this.connected ??= this.openCluster()
    return this.connected
  }

  /** A connection to the cluster that a bootstrap token names; the caller closes it. Rejects with RadosError. */
  async connectPeer({ clientId, monHost, key }: BootstrapToken): Promise<Cluster> {
    const { Connections } = await import('../../../daemon/connect.ts')
    return new Connections(this.configuration).remote({ clusterName: 'ceph', clientName: `client.${clientId}`, monHost, key }, this.signal)
  }

  /** One of Ceph's options as the connection has it. */
  async option(name: string, fallback: string): Promise<string> {
    return (await this.cluster()).option(name) ?? this.configuration.options.text(name) ?? fallback
  }

  async defaultPool(): Promise<string> {
    return (await this.option('rbd_default_pool', 'rbd')) || 'rbd'
  }

  /** Connects and opens a pool and namespace, which must exist. @throws CommandFailure with the tool's words */
  async openPool({ pool: wanted, namespace }: PoolName): Promise<IoCtx> {
    const cluster = await this.cluster()
    const standard = await this.defaultPool()
    const pool = wanted === '' ? standard : wanted
    let io: IoCtx
    try {
      io = await cluster.openPool(pool)
    } catch (error) {
      if (!(error instanceof RadosError)) throw error
      if (error.errno !== Errno.ENOENT || pool !== standard) throw new CommandFailure(error.errno, `error opening pool '${pool}': ${errnoText(error.errno)}`)
      this.complain(`error opening default pool '${pool}'`)
      this.terminal.err('Ensure that the default pool has been created or specify an alternate pool name.\n')
      throw new CommandFailure(error.errno)
    }
    this.closers.push(() => io.close())
    if (namespace === '') return io
    if (!(await attempt('error asserting namespace', () => namespaceExists(io, namespace)))) {
      throw new CommandFailure(Errno.ENOENT, `namespace '${namespace}' does not exist.`)
    }
    return this.adopt(io.duplicate({ namespace }))
  }

  /** Opens an image. @throws CommandFailure with the tool's words */
  async openImage(io: IoCtx, which: { id: string } | { name: string }, access: ImageOptions['access'], lockPolicy?: LockPolicy): Promise<Image> {
    const shown = 'id' in which ? `with id ${which.id}` : which.name
    const image = await attempt(`error opening image ${shown}`, async () => Image.open(io, which, await this.imageOptions(access, lockPolicy)))
    return this.adoptAsync(image)
  }

  async imageOptions(access: ImageOptions['access'], lockPolicy: LockPolicy = standardLockPolicy): Promise<ImageOptions> {
    return { cluster: await this.cluster(), access, clock: systemClock, random: systemRandom, log: this.log, lockPolicy, journaled: true, signal: this.signal }
  }

  /** What is logged below is no command's output: warnings of it would only puzzle scripts. */
  get log(): Log {
    return silentLog
  }

  /** Closes it with the context. */
  adopt<T extends { close(): void }>(opened: T): T {
    this.closers.push(() => opened.close())
    return opened
  }

  adoptAsync<T extends { close(): Promise<void> }>(opened: T): T {
    this.closers.push(() => opened.close())
    return opened
  }

  async close(): Promise<void> {
    for (const close of this.closers.reverse()) await close()
    this.closers.length = 0
    const connected = await this.connected?.catch(() => undefined) // who asked for it knows of its failure
    await connected?.close()
  }

  private async openCluster(): Promise<Cluster> {
    try {
      return await this.connect(this.configuration, this.signal)
    } catch (error) {
      if (isErrno(error, Errno.EINTR)) throw error
      const { explainConnectFailure } = await import('../../../daemon/connect.ts')
      this.complain(error instanceof RadosError ? explainConnectFailure(error, this.configuration) : error instanceof Error ? error.message : String(error))
      // what is wrong on this host is the key, once there is a cluster to ask
      const here = this.configuration.options.get('mon_host') === '' ? Errno.ENOENT : Errno.EACCES
      throw new CommandFailure(error instanceof RadosError ? error.errno : here, "couldn't connect to the cluster!", { cause: error })
    }
  }
}


