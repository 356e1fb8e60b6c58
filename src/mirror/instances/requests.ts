import { abortable } from '../../base/cancelled.ts'
import type { Log } from '../../base/log.ts'
import { Semaphore } from '../../base/semaphore.ts'
import { decode, encode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { IoCtx, NotifyAck } from '../../rados/io-ctx.ts'
import { mirrorInstanceName } from '../../rbd/names.ts'
import { NOTIFY_TIMEOUT_MS } from '../../rbd/object-watcher.ts'
import { InstanceAck, InstanceMessage } from './messages.ts'

/** Messages under way at once to one daemon. Those that wait for a sync do not count. */
const MAX_IN_FLIGHT = 64

type Payload<T> = T extends { requestId: bigint } ? Omit<T, 'requestId'> : never
/** A message without its request id. */
export type InstanceRequest = Payload<InstanceMessage>

/** Asks other daemons, over the watch that each keeps on its `rbd_mirror_instance.ID`. */
export class InstanceRequests {
  private lastId = 0n
  private readonly inFlight = new Map<string, Semaphore>()

  constructor(private readonly options: { io: IoCtx; self: string; log: Log }) {}

  /**
   * Sends a message until it is answered, which may be long after (`syncStart`: when the sync is over). Resolves with the result: 0, or a
   * negative errno. Rejects with ENOENT when there is no such daemon, with ENOTCONN when nobody listens.
   */
  async send(instanceId: string, request: InstanceRequest, signal: AbortSignal): Promise<number> {
    const lasting = request.type === 'syncRequest' || request.type === 'syncStart'
    if (lasting) return this.repeat(instanceId, request, signal)
    let limit = this.inFlight.get(instanceId)
    if (!limit) this.inFlight.set(instanceId, (limit = new Semaphore(MAX_IN_FLIGHT)))
    return limit.run(1, () => this.repeat(instanceId, request, signal), signal)
  }

  /** A daemon that is gone. */
  forget(instanceId: string): void {
    this.inFlight.delete(instanceId)
  }

  private async repeat(instanceId: string, request: InstanceRequest, signal: AbortSignal): Promise<number> {
    const { io, log } = this.options
    const requestId = ++this.lastId
    const message = encode(InstanceMessage, { ...request, requestId })
    for (;;) {
      signal.throwIfAborted()
      const { acks, timeouts } = await abortable(io.notify(mirrorInstanceName(instanceId), message, NOTIFY_TIMEOUT_MS), signal)
      const answer = acks.map((ack) => this.answer(ack)).find((ack) => ack?.requestId === requestId)
      if (answer) return answer.result
      if (timeouts.length === 0) {
        throw new RadosError(Errno.ENOTCONN, { op: `${request.type} of instance ${instanceId}`, pool: io.poolName, oid: mirrorInstanceName(instanceId) })
      }
      log.debug({ instanceId, request: request.type }, 'a daemon has not answered in time: asked again')
    }
  }

  private answer({ payload }: NotifyAck): InstanceAck | undefined {
    if (payload.length === 0) return undefined
    try {
      const ack = decode(InstanceAck, payload, 'answer of an instance')
      return ack.instanceId === this.options.self ? ack : undefined
    } catch (error) {
      if (!(error instanceof MalformedInput)) throw error
      this.options.log.warn({ err: error }, 'cannot read the answer of another daemon')
      return undefined
    }
  }
}
