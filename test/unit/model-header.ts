import * as lock from '../../src/cls/lock/operations.ts'
import { LockInfo, type Locker } from '../../src/cls/lock/types.ts'
import { decode, encode, zeroTime, type Codec } from '../../src/encoding/codec.ts'
import { ENTITY_TYPE_CLIENT } from '../../src/encoding/entity.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx, NotifyAck, NotifyTimeout, WatchHandlers } from '../../src/rados/io-ctx.ts'
import { ReadResults, type ReadOperation, type WriteOperation } from '../../src/rados/operation.ts'

type FailingOperation = 'watch' | 'lock' | 'set_cookie' | 'get_info'

interface ModelWatch {
  clientId: bigint
  cookie: bigint
  handlers: WatchHandlers
}

/** One header object as several clients see it: watches, notifications and the object class `lock`, in memory. */
export class ModelHeader {
  readonly watches: ModelWatch[] = []
  readonly lockers: Locker[] = []
  /** what happened that only the cluster sees, e.g. `blocklist 10.0.0.1:0/7` */
  readonly log: string[] = []
  /** the next operations fail with these errnos after they were executed (`after`) or instead */
  readonly failures: { operation: FailingOperation; errno: number; after?: boolean }[] = []
  private lastCookie = 0n
  private lastNotify = 0n

  client(clientId: bigint): { io: IoCtx; cluster: Cluster } {
    const io: Partial<IoCtx> = {
      clusterName: 'model',
      poolName: 'pool',
      namespace: '',
      watch: (_oid, handlers) => this.watch(clientId, handlers),
      notify: (_oid, payload, timeoutMs) => this.notify(clientId, payload, timeoutMs),
      listWatchers: () =>
        Promise.resolve(
          this.watches.map((watch) => ({ address: address(watch.clientId), clientId: watch.clientId, cookie: watch.cookie, timeoutSeconds: 30 })),
        ),
      write: async (_oid, operation) => {
        this.write(clientId, operation)
        return Promise.resolve(1n)
      },
      read: async (_oid, operation) => Promise.resolve(this.read(operation)),
    }
    const cluster: Partial<Cluster> = {
      instanceId: clientId,
      option: () => undefined,
      blocklistAdd: async (at) => {
        this.log.push(`blocklist ${at}`)
        return Promise.resolve()
      },
      waitForLatestOsdMap: async () => {
        this.log.push('wait for osdmap')
        return Promise.resolve()
      },
    }
    return { io: io as IoCtx, cluster: cluster as Cluster }
  }

  /** The client's process is gone: its watches vanish without a word. */
  kill(clientId: bigint): void {
    for (const watch of this.watches.filter((one) => one.clientId === clientId)) this.watches.splice(this.watches.indexOf(watch), 1)
  }

  /** The client's watches time out, and it is told so. */
  dropWatches(clientId: bigint, errno: number = Errno.ENOTCONN): void {
    const dropped = this.watches.filter((watch) => watch.clientId === clientId)
    this.kill(clientId)
    for (const { handlers } of dropped) handlers.onError(failure(errno, 'watch'))
  }

  private fail(operation: FailingOperation, after: boolean): void {
    const index = this.failures.findIndex((entry) => entry.operation === operation && (entry.after ?? false) === after)
    if (index >= 0) throw failure(this.failures.splice(index, 1)[0]!.errno, operation)
  }

  private async watch(clientId: bigint, handlers: WatchHandlers) {
    await Promise.resolve()
    this.fail('watch', false)
    const watch = { clientId, cookie: ++this.lastCookie, handlers }
    this.watches.push(watch)
    return {
      cookie: watch.cookie,
      check: () => 0,
      close: async () => {
        const index = this.watches.indexOf(watch)
        if (index >= 0) this.watches.splice(index, 1)
        return Promise.resolve()
      },
    }
  }

  private async notify(notifierId: bigint, payload: Buffer, _timeoutMs: number) {
    const acks: NotifyAck[] = []
    const timeouts: NotifyTimeout[] = []
    const notifyId = ++this.lastNotify
    await Promise.all(
      [...this.watches].map(
        (watch) =>
          new Promise<void>((resolve) =>
            queueMicrotask(() =>
              watch.handlers.onNotify({
                payload,
                notifyId,
                notifierId,
                ack: (answer = Buffer.alloc(0)) => {
                  acks.push({ notifierId: watch.clientId, cookie: watch.cookie, payload: answer })
                  resolve()
                },
              }),
            ),
          ),
      ),
    )
    return { acks, timeouts }
  }

  private write(clientId: bigint, operation: WriteOperation): void {
    for (const step of operation.steps) {
      if (step.type !== 'exec' || step.cls !== 'lock') throw new Error(`a step that the model does not know: ${step.type}`)
      const args = <T>(codec: Codec<T>) => decode(codec, step.input, step.method)
      switch (step.method) {
        case 'lock':
          this.fail('lock', false)
          this.lock(clientId, args(lock.lockOp).cookie)
          this.fail('lock', true)
          break
        case 'unlock':
          this.unlock(clientId, args(lock.unlockOp).cookie)
          break
        case 'break_lock': {
          const { locker, cookie } = args(lock.breakOp)
          this.unlock(locker.num, cookie)
          this.log.push(`break ${locker.num} ${cookie}`)
          break
        }
        case 'set_cookie': {
          this.fail('set_cookie', false)
          const { cookie, newCookie } = args(lock.setCookieOp)
          const held = this.find(clientId, cookie)
          if (!held) throw failure(this.lockers.length > 0 ? Errno.EBUSY : Errno.ENOENT, 'set_cookie')
          held.cookie = newCookie
          this.fail('set_cookie', true)
          break
        }
        default:
          throw new Error(`a method that the model does not know: ${step.method}`)
      }
    }
  }

  private find(clientId: bigint, cookie: string): Locker | undefined {
    return this.lockers.find((locker) => locker.locker.num === clientId && locker.cookie === cookie)
  }

  private lock(clientId: bigint, cookie: string): void {
    if (this.find(clientId, cookie)) throw failure(Errno.EEXIST, 'lock')
    if (this.lockers.length > 0) throw failure(Errno.EBUSY, 'lock')
    const sockaddr = Buffer.from([2, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    this.lockers.push({
      locker: { type: ENTITY_TYPE_CLIENT, num: clientId },
      cookie,
      expiration: zeroTime,
      addr: { type: 1, nonce: Number(clientId), sockaddr },
      description: '',
    })
  }

  private unlock(clientId: bigint, cookie: string): void {
    const held = this.find(clientId, cookie)
    if (!held) throw failure(Errno.ENOENT, 'unlock')
    this.lockers.splice(this.lockers.indexOf(held), 1)
  }

  private read(operation: ReadOperation): ReadResults {
    const values = operation.steps.map((step) => {
      if (step.type !== 'exec' || step.method !== 'get_info') throw new Error(`a step that the model does not know: ${step.type}`)
      this.fail('get_info', false)
      return encode(LockInfo, { lockers: this.lockers, type: 'exclusive', tag: 'internal' })
    })
    return new ReadResults(values, 1n)
  }
}

function address(clientId: bigint): string {
  return `10.0.0.1:0/${clientId}`
}

function failure(errno: number, op: string): RadosError {
  return new RadosError(errno, { op })
}
