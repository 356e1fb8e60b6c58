import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { ClusterProcess } from './cluster-process.ts'
import { freePorts } from './ports.ts'
import { waitFor } from './wait.ts'

const PROGRAM = 'redis-server'
const START_MS = 10_000

/** Why tests on Redis can't run; undefined: they can. With RBD_MIRROR_REQUIRE_REDIS=1 they have to. */
export function redisMissing(): string | undefined {
  if (spawnSync(PROGRAM, ['--version']).status === 0) return undefined
  const reason = `${PROGRAM} is not installed; install it: apt-get install -y redis-server`
  if (process.env['RBD_MIRROR_REQUIRE_REDIS'] === '1') throw new Error(reason)
  console.warn(`tests on Redis are SKIPPED: ${reason}`)
  return reason
}

export interface RedisServerOptions {
  /** when the append-only file is flushed */
  readonly fsync?: 'always' | 'everysec' | 'no'
  readonly password?: string
  /** A Redis Cluster of this one node: it has all slots, database 0 alone, and refuses what would touch two nodes of a larger one. */
  readonly cluster?: boolean
}

/** A Redis server with an append-only file in a folder of its own, on a port of its own; it ends with us, however we end. */
export class RedisServer {
  private readonly folder = mkdtempSync(join(tmpdir(), 'redis-'))
  private readonly process: ClusterProcess
  private readonly output: number
  private readonly password: string | undefined

  private constructor(
    readonly port: number,
    { fsync = 'everysec', password, cluster = false }: RedisServerOptions,
  ) {
    this.password = password
    this.output = openSync(join(this.folder, 'output'), 'a')
    const settings = { port, bind: '127.0.0.1', dir: this.folder, save: '', appendonly: 'yes', appendfsync: fsync, ...(password && { requirepass: password }), ...(cluster && { 'cluster-enabled': 'yes', 'cluster-port': port + 1 }) }
    this.process = new ClusterProcess({
      name: `redis-server on port ${port}`,
      command: [PROGRAM, ...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])],
      pidFile: join(this.folder, 'pid'),
      mark: String(port),
      detached: false,
      outputFile: this.output,
    })
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(await freePorts(2), options)
    try {
      await server.run()
      if (options.cluster) await server.with(haveAllSlots)
      return server
    } catch (error) {
      await server.close()
      throw error
    }
  }

  url(db = 0): string {
    return `redis://${this.password === undefined ? '' : `:${this.password}@`}127.0.0.1:${this.port}/${db}`
  }

  /** Starts it, also again after `kill`, and waits until it answers. */
  async run(): Promise<void> {
    this.process.start()
    await this.with(() => Promise.resolve())
  }

  async kill(): Promise<void> {
    await this.process.end(0)
  }

  signal(signal: NodeJS.Signals): void {
    this.process.signal(signal)
  }

  /** With a connection for the test itself. */
  async with<T>(work: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis(this.url(), { lazyConnect: true, retryStrategy: () => 20 })
    client.on('error', () => undefined) // until it answers
    const late = setTimeout(() => client.disconnect(), START_MS)
    try {
      void client.connect().catch(() => undefined) // it tries again
      await client.ping()
      return await work(client)
    } catch (error) {
      throw new Error(`redis-server on port ${this.port}: ${(error as Error).message}\n${readFileSync(join(this.folder, 'output'), 'utf8').slice(-1000)}`, { cause: error })
    } finally {
      clearTimeout(late)
      client.disconnect()
    }
  }

  async close(): Promise<void> {
    await this.process.end(0)
    closeSync(this.output)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function haveAllSlots(client: Redis): Promise<void> {
  await client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
  await waitFor('the Redis Cluster', async () => (await client.call('CLUSTER', 'INFO') as string).includes('cluster_state:ok'), { interval: 20, timeout: START_MS })
}
