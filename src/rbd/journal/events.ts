import { utime, type Codec, type Utime } from '../../encoding/codec.ts'
import type { Decoder } from '../../encoding/decoder.ts'
import type { Encoder } from '../../encoding/encoder.ts'
import { SnapshotNamespace } from '../../cls/rbd/types.ts'

/** Version written by EventEntry's encoder; librbd/journal/Types.cc reads everything from 1 on. */
const EVENT_VERSION = 5

interface OperationEvent {
  /** pairs an operation's start with its `opFinish`; unique within a tag */
  opTid: bigint
}
interface SnapshotEvent extends OperationEvent {
  snapName: string
  snapNamespace: SnapshotNamespace
}

/**
 * What librbd writes into an image's journal: one event an entry (librbd/journal/Types.h). Offsets and lengths are bytes of the image;
 * buffers are views of the entry. An event of a later release is `unknown`, and nothing after it may be applied.
 */
export type JournalEvent =
  | { type: 'aioDiscard'; offset: number; length: number; discardGranularityBytes: number }
  | { type: 'aioWrite'; offset: number; length: number; data: Buffer }
  | { type: 'aioWriteSame'; offset: number; length: number; data: Buffer }
  | { type: 'aioCompareAndWrite'; offset: number; length: number; compare: Buffer; data: Buffer }
  | { type: 'aioFlush' }
  /** `result` is 0 or a negative errno */
  | ({ type: 'opFinish'; result: number } & OperationEvent)
  | ({ type: 'snapCreate' } & SnapshotEvent)
  | ({ type: 'snapRemove' } & SnapshotEvent)
  | ({ type: 'snapRename'; snapId: bigint; fromName: string; toName: string } & OperationEvent)
  | ({ type: 'snapProtect' } & SnapshotEvent)
  | ({ type: 'snapUnprotect' } & SnapshotEvent)
  | ({ type: 'snapRollback' } & SnapshotEvent)
  | ({ type: 'rename'; imageName: string } & OperationEvent)
  | ({ type: 'resize'; size: number } & OperationEvent)
  | ({ type: 'flatten' } & OperationEvent)
  | { type: 'demotePromote' }
  | ({ type: 'snapLimit'; limit: bigint } & OperationEvent)
  | ({ type: 'updateFeatures'; features: bigint; enabled: boolean } & OperationEvent)
  | ({ type: 'metadataSet'; key: string; value: string } & OperationEvent)
  | ({ type: 'metadataRemove'; key: string } & OperationEvent)
  | { type: 'unknown'; tag: number }

export type JournalEventType = JournalEvent['type']
type EventOf<T extends JournalEventType> = Extract<JournalEvent, { type: T }>

interface EventCodec<T extends JournalEventType> {
  tag: number
  encode(encoder: Encoder, event: EventOf<T>): void
  decode(decoder: Decoder, version: number): Omit<EventOf<T>, 'type'>
}

const UINT32_MAX = 0xffffffff

const plain = <T extends JournalEventType>(tag: number): EventCodec<T> => ({
  tag,
  encode() {},
  decode: () => ({}) as Omit<EventOf<T>, 'type'>,
})

const dataEvent = (tag: number): EventCodec<'aioWrite'> => ({
  tag,
  encode: (encoder, event) => encoder.size(event.offset).size(event.length).bytes(event.data),
  decode: (decoder) => ({ offset: decoder.size(), length: decoder.size(), data: decoder.bytes() }),
})

type SnapshotEventType = 'snapCreate' | 'snapRemove' | 'snapProtect' | 'snapUnprotect' | 'snapRollback'

const snapshotEvent = (tag: number, namespaceSince: number): EventCodec<SnapshotEventType> => ({
  tag,
  encode(encoder, event) {
    encoder.u64(event.opTid).string(event.snapName)
    SnapshotNamespace.encode(encoder, event.snapNamespace)
  },
  decode: (decoder, version) => ({
    opTid: decoder.u64(),
    snapName: decoder.string(),
    snapNamespace: version >= namespaceSince ? SnapshotNamespace.decode(decoder) : { type: 'user' },
  }),
})

const codecs: { [T in Exclude<JournalEventType, 'unknown'>]: EventCodec<T> } = {
  aioDiscard: {
    tag: 0,
    encode: (encoder, event) =>
      encoder
        .size(event.offset)
        .size(event.length)
        .bool(event.discardGranularityBytes > 0)
        .u32(event.discardGranularityBytes),
    decode(decoder, version) {
      const offset = decoder.size()
      const length = decoder.size()
      const skipPartial = version >= 4 && decoder.bool()
      return { offset, length, discardGranularityBytes: version >= 5 ? decoder.u32() : skipPartial ? UINT32_MAX : 0 }
    },
  },
  aioWrite: dataEvent(1),
  aioFlush: plain(2),
  opFinish: {
    tag: 3,
    // the tid lies there twice
    encode: (encoder, event) => encoder.u64(event.opTid).u64(event.opTid).s32(event.result),
    decode(decoder) {
      decoder.u64()
      return { opTid: decoder.u64(), result: decoder.s32() }
    },
  },
  snapCreate: snapshotEvent(4, 3) as unknown as EventCodec<'snapCreate'>,
  snapRemove: snapshotEvent(5, 4) as unknown as EventCodec<'snapRemove'>,
  snapRename: {
    tag: 6,
    encode: (encoder, event) => encoder.u64(event.opTid).string(event.toName).u64(event.snapId).string(event.fromName),
    decode: (decoder, version) => ({
      opTid: decoder.u64(),
      toName: decoder.string(),
      snapId: decoder.u64(),
      fromName: version >= 2 ? decoder.string() : '',
    }),
  },
  snapProtect: snapshotEvent(7, 4) as unknown as EventCodec<'snapProtect'>,
  snapUnprotect: snapshotEvent(8, 4) as unknown as EventCodec<'snapUnprotect'>,
  snapRollback: snapshotEvent(9, 4) as unknown as EventCodec<'snapRollback'>,
  rename: {
    tag: 10,
    encode: (encoder, event) => encoder.u64(event.opTid).string(event.imageName),
    decode: (decoder) => ({ opTid: decoder.u64(), imageName: decoder.string() }),
  },
  resize: {
    tag: 11,
    encode: (encoder, event) => encoder.u64(event.opTid).size(event.size),
    decode: (decoder) => ({ opTid: decoder.u64(), size: decoder.size() }),
  },
  flatten: {
    tag: 12,
    encode: (encoder, event) => encoder.u64(event.opTid),
    decode: (decoder) => ({ opTid: decoder.u64() }),
  },
  demotePromote: plain(13),
  snapLimit: {
    tag: 14,
    encode: (encoder, event) => encoder.u64(event.opTid).u64(event.limit),
    decode: (decoder) => ({ opTid: decoder.u64(), limit: decoder.u64() }),
  },
  updateFeatures: {
    tag: 15,
    encode: (encoder, event) => encoder.u64(event.opTid).u64(event.features).bool(event.enabled),
    decode: (decoder) => ({ opTid: decoder.u64(), features: decoder.u64(), enabled: decoder.bool() }),
  },
  metadataSet: {
    tag: 16,
    encode: (encoder, event) => encoder.u64(event.opTid).string(event.key).string(event.value),
    decode: (decoder) => ({ opTid: decoder.u64(), key: decoder.string(), value: decoder.string() }),
  },
  metadataRemove: {
    tag: 17,
    encode: (encoder, event) => encoder.u64(event.opTid).string(event.key),
    decode: (decoder) => ({ opTid: decoder.u64(), key: decoder.string() }),
  },
  aioWriteSame: dataEvent(18) as unknown as EventCodec<'aioWriteSame'>,
  aioCompareAndWrite: {
    tag: 19,
    encode: (encoder, event) => encoder.size(event.offset).size(event.length).bytes(event.compare).bytes(event.data),
    decode: (decoder) => ({ offset: decoder.size(), length: decoder.size(), compare: decoder.bytes(), data: decoder.bytes() }),
  },
}

const byTag = new Map(Object.entries(codecs).map(([type, codec]) => [codec.tag, [type, codec as EventCodec<'aioWrite'>] as const]))

/** librbd::journal::EventEntry: an event and when it was written. */
export interface EventEntry {
  event: JournalEvent
  /** of the primary's clock; zero before version 4 */
  timestamp: Utime
}

export const EventEntry: Codec<EventEntry> = {
  encode(encoder, { event, timestamp }) {
    if (event.type === 'unknown') throw new Error('an unknown journal event cannot be written')
    const codec = codecs[event.type] as EventCodec<'aioWrite'>
    encoder.versioned(EVENT_VERSION, 1, () => {
      encoder.u32(codec.tag)
      codec.encode(encoder, event as EventOf<'aioWrite'>)
    })
    encoder.versioned(1, 1, () => utime.encode(encoder, timestamp))
  },
  decode(decoder) {
    let eventVersion = 0
    const event = decoder.versioned(EVENT_VERSION, (version) => {
      eventVersion = version
      const tag = decoder.u32()
      const known = byTag.get(tag)
      if (!known) return { type: 'unknown', tag } as const
      const [type, codec] = known
      const body = codec.decode(decoder, version) as { type?: string }
      body.type = type
      return body as JournalEvent
    })
    const timestamp = eventVersion >= 4 ? decoder.versioned(1, () => utime.decode(decoder)) : { sec: 0, nsec: 0 }
    return { event, timestamp }
  },
}
