import { unreachable } from '../../base/assert.ts'
import { Decoder } from '../../encoding/decoder.ts'
import { Encoder } from '../../encoding/encoder.ts'

/** What clients of an emulated cluster tell each other, through the engine. `to` is the global id of the receiving client. */
export type Message =
  /** the cluster map has changed: for all */
  | { readonly type: 'map' }
  | {
      readonly type: 'notify'
      readonly to: bigint
      readonly cookie: bigint
      readonly notifyId: bigint
      readonly notifierId: bigint
      /** where the acknowledgement goes */
      readonly endpoint: string
      readonly payload: Buffer
    }
  /** `gone`: the watch has ended, there is no answer to wait for */
  | {
      readonly type: 'ack'
      readonly to: bigint
      readonly notifyId: bigint
      readonly watcherId: bigint
      readonly cookie: bigint
      readonly gone: boolean
      readonly payload: Buffer
    }
  /** the watched object is removed */
  | { readonly type: 'lost'; readonly to: bigint; readonly cookie: bigint }

const VERSION = 1
const TYPES = ['map', 'notify', 'ack', 'lost'] as const

export function encodeMessage(message: Message): Buffer {
  const encoder = new Encoder()
  encoder.versioned(VERSION, VERSION, () => {
    encoder.u8(TYPES.indexOf(message.type))
    switch (message.type) {
      case 'map':
        return
      case 'notify':
        encoder.u64(message.to).u64(message.cookie).u64(message.notifyId).u64(message.notifierId).string(message.endpoint).bytes(message.payload)
        return
      case 'ack':
        encoder.u64(message.to).u64(message.notifyId).u64(message.watcherId).u64(message.cookie).bool(message.gone).bytes(message.payload)
        return
      case 'lost':
        encoder.u64(message.to).u64(message.cookie)
        return
      default:
        unreachable(message)
    }
  })
  return encoder.finish()
}

/** @throws MalformedInput */
export function decodeMessage(bytes: Buffer): Message {
  const decoder = new Decoder(bytes, 'message of another client')
  return decoder.versioned(VERSION, (): Message => {
    const type = TYPES[decoder.u8()]
    switch (type) {
      case 'map':
        return { type }
      case 'notify':
        return {
          type,
          to: decoder.u64(),
          cookie: decoder.u64(),
          notifyId: decoder.u64(),
          notifierId: decoder.u64(),
          endpoint: decoder.string(),
          payload: Buffer.from(decoder.bytes()),
        }
      case 'ack':
        return {
          type,
          to: decoder.u64(),
          notifyId: decoder.u64(),
          watcherId: decoder.u64(),
          cookie: decoder.u64(),
          gone: decoder.bool(),
          payload: Buffer.from(decoder.bytes()),
        }
      case 'lost':
        return { type, to: decoder.u64(), cookie: decoder.u64() }
      default:
        return decoder.fail('unknown type')
    }
  })
}
