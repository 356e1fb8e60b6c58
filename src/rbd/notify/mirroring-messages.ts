import { decode, encode, type Codec } from '../../encoding/codec.ts'

/** Sent through a pool's rbd_mirroring object when its mirror mode or an image's mirror state changes (librbd/mirroring_watcher/Types.cc). */
export type MirroringMessage =
  | { type: 'modeUpdated'; mirrorMode: MirrorModeName }
  | { type: 'imageUpdated'; state: MirrorImageStateName; imageId: string; globalImageId: string }
  | { type: 'unknown'; op: number }

export type MirrorModeName = 'disabled' | 'image' | 'pool'
export type MirrorImageStateName = 'disabling' | 'enabled' | 'disabled' | 'creating'

const modes: readonly MirrorModeName[] = ['disabled', 'image', 'pool']
const states: readonly MirrorImageStateName[] = ['disabling', 'enabled', 'disabled', 'creating']

const MirroringMessageCodec: Codec<MirroringMessage> = {
  encode(encoder, message) {
    encoder.versioned(1, 1, () => {
      switch (message.type) {
        case 'modeUpdated':
          return void encoder.u32(0).u32(modes.indexOf(message.mirrorMode))
        case 'imageUpdated':
          return void encoder.u32(1).u32(states.indexOf(message.state)).string(message.imageId).string(message.globalImageId)
        case 'unknown':
          throw new Error(`an unknown message (${message.op}) can't be sent`)
      }
    })
  },
  decode: (decoder) =>
    decoder.versioned(1, (): MirroringMessage => {
      const op = decoder.u32()
      switch (op) {
        case 0: {
          const mode = decoder.u32()
          return { type: 'modeUpdated', mirrorMode: modes[mode] ?? decoder.fail(`mirror mode ${mode}`) }
        }
        case 1: {
          const state = decoder.u32()
          return {
            type: 'imageUpdated',
            state: states[state] ?? decoder.fail(`mirror image state ${state}`),
            imageId: decoder.string(),
            globalImageId: decoder.string(),
          }
        }
        default:
          return { type: 'unknown', op }
      }
    }),
}

export function encodeMirroringMessage(message: MirroringMessage): Buffer {
  return encode(MirroringMessageCodec, message)
}

/** Throws MalformedInput. */
export function decodeMirroringMessage(payload: Buffer): MirroringMessage {
  return decode(MirroringMessageCodec, payload, 'mirroring notification')
}
