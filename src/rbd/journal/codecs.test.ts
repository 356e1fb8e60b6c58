import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decode, encode, type Codec } from '../../encoding/codec.ts'
import { acceptedPrefixes, roundTrip, vectors } from '../../../test/support/vectors.ts'
import { ClientData } from './client-data.ts'
import { EventEntry, type JournalEvent } from './events.ts'
import { TagData } from './tag-data.ts'

const codecs: Record<string, Codec<never>> = {
  'librbd::journal::ClientData': ClientData,
  'librbd::journal::EventEntry': EventEntry,
  'librbd::journal::TagData': TagData,
} as unknown as Record<string, Codec<never>>

describe.each(Object.entries(codecs))('%s', (type, codec) => {
  test.each(vectors(type))('$name', ({ bytes }) => {
    expect(roundTrip(codec, bytes)).toBe(bytes.toString('hex'))
    expect(acceptedPrefixes(codec, bytes)).toEqual([])
  })
})

const opTid = fc.bigInt(0n, 2n ** 64n - 1n)
const offset = fc.nat()
const data = fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes))
const snapshot = { opTid, snapName: fc.string(), snapNamespace: fc.constant({ type: 'user' as const }) }

const events: fc.Arbitrary<JournalEvent> = fc.oneof(
  fc.record({ type: fc.constant('aioDiscard' as const), offset, length: offset, discardGranularityBytes: fc.nat() }),
  fc.record({ type: fc.constantFrom('aioWrite' as const, 'aioWriteSame' as const), offset, length: offset, data }),
  fc.record({ type: fc.constant('aioCompareAndWrite' as const), offset, length: offset, compare: data, data }),
  fc.constant({ type: 'aioFlush' as const }),
  fc.record({ type: fc.constant('opFinish' as const), opTid, result: fc.integer() }),
  fc.record({ type: fc.constantFrom('snapCreate' as const, 'snapRemove' as const, 'snapProtect' as const), ...snapshot }),
  fc.record({ type: fc.constantFrom('snapUnprotect' as const, 'snapRollback' as const), ...snapshot }),
  fc.record({ type: fc.constant('snapRename' as const), opTid, snapId: opTid, fromName: fc.string(), toName: fc.string() }),
  fc.record({ type: fc.constant('rename' as const), opTid, imageName: fc.string() }),
  fc.record({ type: fc.constant('resize' as const), opTid, size: offset }),
  fc.record({ type: fc.constant('flatten' as const), opTid }),
  fc.constant({ type: 'demotePromote' as const }),
  fc.record({ type: fc.constant('snapLimit' as const), opTid, limit: opTid }),
  fc.record({ type: fc.constant('updateFeatures' as const), opTid, features: opTid, enabled: fc.boolean() }),
  fc.record({ type: fc.constant('metadataSet' as const), opTid, key: fc.string(), value: fc.string() }),
  fc.record({ type: fc.constant('metadataRemove' as const), opTid, key: fc.string() }),
)

test('every event comes back as it was written', () => {
  fc.assert(
    fc.property(events, (event) => {
      const entry = { event, timestamp: { sec: 7, nsec: 9 } }
      expect(decode(EventEntry, encode(EventEntry, entry), 'event')).toEqual(entry)
    }),
  )
})

test('an event of a later release is told, not guessed', () => {
  const bytes = encode(EventEntry, { event: { type: 'flatten', opTid: 1n }, timestamp: { sec: 1, nsec: 2 } })
  bytes.writeUInt32LE(77, 6)
  expect(decode(EventEntry, bytes, 'event')).toEqual({ event: { type: 'unknown', tag: 77 }, timestamp: { sec: 1, nsec: 2 } })
})
