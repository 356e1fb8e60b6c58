import type { Cluster, CommandResult, PoolInfo } from '../../rados/cluster.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { Connection } from './connection.ts'
import { LibradosIoCtx } from './io-ctx.ts'
import { Arena, copyFrom, cString, dictionary, stringAt } from './memory.ts'
import type { Librados } from './native.ts'

/** Where librados puts an option's value: the same memory for all calls, as options are asked for by the dozen, again and again. */
let optionValue: Buffer | undefined
const OPTION_BYTES = 64 * 1024
const NAME_BYTES = 1024
const UNREACHABLE = new Set<number>([Errno.ETIMEDOUT, Errno.ENOTCONN, Errno.ESHUTDOWN, Errno.ECANCELED])

/** A connected rados_t. */
export class LibradosCluster implements Cluster {
  readonly name: string
  readonly instanceId: bigint
  readonly fsid: string
  private readonly api: Librados

  constructor(
    private readonly connection: Connection,
    readonly entity: string,
  ) {
    this.api = connection.api
    this.name = connection.name
    this.instanceId = BigInt(this.api.getInstanceId(connection.handle))
    const fsid = Buffer.alloc(37)
    const status = this.api.clusterFsid(connection.handle, fsid, fsid.length)
    if (status < 0) throw connection.error(status, { op: 'fsid' })
    this.fsid = cString(fsid)
  }

  async listPools(): Promise<PoolInfo[]> {
    const pools = await this.commandJson<{ poolnum: number; poolname: string }[]>({ prefix: 'osd lspools' })
    return pools.map(({ poolnum, poolname }) => ({ id: BigInt(poolnum), name: poolname }))
  }

  async lookupPool(name: string): Promise<bigint> {
    const id = await this.connection.blocking('look up pool', (done) =>
      this.api.poolLookup.async(this.connection.handle, name, (error, result) => done(error, Number(result))),
    )
    if (id < 0) throw this.connection.error(id, { op: 'look up pool', pool: name })
    return BigInt(id)
  }

  async openPool(name: string): Promise<LibradosIoCtx> {
    return this.openContext(await this.lookupPool(name), name)
  }

  async openPoolById(id: bigint): Promise<LibradosIoCtx> {
    const name = Buffer.alloc(NAME_BYTES)
    const status = await this.connection.blocking('look up pool', (done) =>
      this.api.poolReverseLookup.async(this.connection.handle, id, name, name.length, done),
    )
    if (status < 0) throw this.connection.error(status, { op: 'look up pool', pool: `id ${id}` })
    return this.openContext(id, cString(name))
  }

  private async openContext(poolId: bigint, poolName: string): Promise<LibradosIoCtx> {
    const arena = new Arena(1)
    const status = await this.connection.blocking('open pool', (done) =>
      this.api.ioctxCreate2.async(this.connection.handle, poolId, arena.at(0), done),
    )
    if (status < 0) throw this.connection.error(status, { op: 'open pool', pool: poolName })
    return new LibradosIoCtx(this.connection, arena.number(0), { poolId, poolName, namespace: '', readSnap: NO_SNAP, snapContext: undefined })
  }

  monCommand(command: Record<string, unknown>, input: Buffer = Buffer.alloc(0)): Promise<CommandResult> {
    return this.command('monCommand', command, input)
  }

  mgrCommand(command: Record<string, unknown>, input: Buffer = Buffer.alloc(0)): Promise<CommandResult> {
    return this.command('mgrCommand', command, input)
  }

  private async command(kind: 'monCommand' | 'mgrCommand', command: Record<string, unknown>, input: Buffer): Promise<CommandResult> {
    const arena = new Arena(4)
    const [output, outputLength, status, statusLength] = [arena.take(), arena.take(), arena.take(), arena.take()]
    const op = `${kind === 'monCommand' ? 'monitor' : 'manager'} command ${String(command['prefix'])}`
    const takeBytes = (address: number, length: number) => {
      const bytes = copyFrom(arena.number(address), arena.number(length))
      if (arena.number(address) !== 0) this.api.bufferFree(arena.number(address))
      return bytes
    }
    let answer: CommandResult | undefined
    const code = await this.connection.blocking(op, (done) =>
      this.api[kind].async(
        this.connection.handle,
        [JSON.stringify(command)],
        1,
        input,
        input.length,
        arena.at(output),
        arena.at(outputLength),
        arena.at(status),
        arena.at(statusLength),
        (error, result) => {
          // Taken here, so that it is freed even when nobody waits any more.
          if (!error) answer = { code: Math.abs(result), output: takeBytes(output, outputLength), status: takeBytes(status, statusLength).toString() }
          done(error, result)
        },
      ),
    )
    // librados' own words for "nobody answered"
    if (UNREACHABLE.has(Math.abs(code))) throw this.connection.error(code, { op })
    return answer!
  }

  private async succeed(command: Record<string, unknown>, input?: Buffer): Promise<Buffer> {
    const { code, output, status } = await this.monCommand(command, input)
    if (code !== 0) {
      throw this.connection.error(code, { op: `monitor command ${String(command['prefix'])}`, cause: status === '' ? undefined : new Error(status) })
    }
    return output
  }

  private async commandJson<T>(command: Record<string, unknown>): Promise<T> {
    const output = await this.succeed({ ...command, format: 'json' })
    try {
      return JSON.parse(output.toString()) as T
    } catch (cause) {
      throw new MalformedInput(`answer to monitor command ${String(command['prefix'])}`, 'no JSON', { cause })
    }
  }

  async configKeyGet(key: string): Promise<string | undefined> {
    try {
      return (await this.succeed({ prefix: 'config-key get', key })).toString()
    } catch (error) {
      if (isErrno(error, Errno.ENOENT)) return undefined
      throw error
    }
  }

  async configKeySet(key: string, value: string): Promise<void> {
    // As input rather than as an argument: monitors log arguments.
    await this.succeed({ prefix: 'config-key set', key }, Buffer.from(value))
  }

  async configKeyRemove(key: string): Promise<void> {
    await this.succeed({ prefix: 'config-key rm', key })
  }

  option(name: string): string | undefined {
    this.connection.assertOpen('option')
    const value = (optionValue ??= Buffer.alloc(OPTION_BYTES))
    return this.api.confGet(this.connection.handle, name, value, value.length) < 0 ? undefined : cString(value)
  }

  async registerService(service: string, daemon: string, metadata: Readonly<Record<string, string>>): Promise<void> {
    const entries = dictionary(metadata)
    const status = await this.connection.blocking('register service', (done) =>
      this.api.serviceRegister.async(this.connection.handle, service, daemon, entries, done),
    )
    if (status < 0) throw this.connection.error(status, { op: 'register service' })
  }

  async updateServiceStatus(status: Readonly<Record<string, string>>): Promise<void> {
    const entries = dictionary(status)
    const result = await this.connection.blocking('update service status', (done) =>
      this.api.serviceUpdateStatus.async(this.connection.handle, entries, done),
    )
    if (result < 0) throw this.connection.error(result, { op: 'update service status' })
  }

  async address(): Promise<string> {
    const arena = new Arena(1)
    const status = await this.connection.blocking('addresses', (done) => this.api.getAddrs.async(this.connection.handle, arena.at(0), done))
    if (status < 0) throw this.connection.error(status, { op: 'addresses' })
    const addresses = takeString(this.api, arena)
    // `[v2:127.0.0.1:0/123,v1:…]` or the one address of a client
    return addresses.replace(/^\[/, '').replace(/[\],].*$/, '').replace(/^(v1|v2|any):/, '')
  }

  async blocklistAdd(address: string, expireSeconds: number): Promise<void> {
    const status = await this.connection.blocking('add to blocklist', (done) =>
      this.api.blocklistAdd.async(this.connection.handle, address, expireSeconds, done),
    )
    if (status < 0) throw this.connection.error(status, { op: 'add to blocklist' })
  }

  async waitForLatestOsdMap(): Promise<void> {
    const status = await this.connection.onThread('wait for the latest OSD map', 'rados_wait_for_latest_osdmap')
    if (status < 0) throw this.connection.error(status, { op: 'wait for the latest OSD map' })
  }

  close(): Promise<void> {
    return this.connection.close()
  }
}

function takeString(api: Librados, arena: Arena): string {
  const address = arena.number(0)
  if (address === 0) return ''
  const text = stringAt(address)
  api.bufferFree(address)
  return text
}
