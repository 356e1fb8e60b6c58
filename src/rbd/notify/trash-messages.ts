import { TrashImageSpec } from '../../cls/rbd/types.ts'
import { decode, encode, type Codec } from '../../encoding/codec.ts'

/** Sent through a pool's rbd_trash object when an image comes or goes (librbd/trash_watcher/Types.cc). */
export type TrashMessage =
  | { type: 'imageAdded'; imageId: string; spec: TrashImageSpec }
  | { type: 'imageRemoved'; imageId: string }
  | { type: 'unknown'; op: number }

const TrashMessageCodec: Codec<TrashMessage> = {
  encode(encoder, message) {
    encoder.versioned(1, 1, () => {
      switch (message.type) {
        case 'imageAdded':
          return TrashImageSpec.encode(encoder.u32(0).string(message.imageId), message.spec)
        case 'imageRemoved':
          return void encoder.u32(1).string(message.imageId)
        case 'unknown':
          throw new Error(`an unknown message (${message.op}) can't be sent`)
      }
    })
  },
  decode: (decoder) =>
    decoder.versioned(1, (): TrashMessage => {
      const op = decoder.u32()
      switch (op) {
        case 0:
          return { type: 'imageAdded', imageId: decoder.string(), spec: TrashImageSpec.decode(decoder) }
        case 1:
          return { type: 'imageRemoved', imageId: decoder.string() }
        default:
          return { type: 'unknown', op }
      }
    }),
}

export function encodeTrashMessage(message: TrashMessage): Buffer {
  return encode(TrashMessageCodec, message)
}

/** Throws MalformedInput. */
export function decodeTrashMessage(payload: Buffer): TrashMessage {
  return decode(TrashMessageCodec, payload, 'trash notification')
}
