import { Decoder } from '../../encoding/decoder.ts'
import { Encoder } from '../../encoding/encoder.ts'
import type { ByteExtent } from '../../rados/io-ctx.ts'

/** Bytes of a chunk; the last one of an object, and one with nothing but zeros behind, may be shorter. */
export const CHUNK_BYTES = 16 * 1024

/** Ids of an object's chunks by position; 0 is a hole. Not longer than the object's size asks for. */
export type ChunkTable = readonly number[]

/** What head and clones have in common. Values are never changed, only replaced: engines keep and share them. */
export interface ObjectState {
  /** bytes */
  readonly size: number
  /** milliseconds since the epoch */
  readonly mtime: number
  readonly chunks: ChunkTable
  readonly xattrs: ReadonlyMap<string, Buffer>
  /** whether it may have omap entries; they lie under HEAD_OMAP or the clone's id */
  readonly omap: boolean
}

/** An object as it was in some snapshots. */
export interface Clone extends ObjectState {
  readonly id: bigint
  /** ascending */
  readonly snaps: readonly bigint[]
  /** what it shares with the next newer clone or the head */
  readonly overlap: readonly ByteExtent[]
  readonly version: number
}

export interface WatchRecord {
  readonly clientId: bigint
  readonly cookie: bigint
  /** the watcher's address, `addr:port/nonce` */
  readonly address: string
  readonly timeoutSeconds: number
}

/** The record that an object has while it, or a clone of it, exists. */
export interface ObjectHead extends ObjectState {
  /** false: it is removed and only its clones remain (what an OSD calls a whiteout) */
  readonly exists: boolean
  /** the id that the next new chunk gets; ids are never used twice while the record lives */
  readonly nextChunk: number
  /** newest snapshot of any context it was written under */
  readonly snapSeq: bigint
  /** ascending */
  readonly clones: readonly Clone[]
  readonly watchers: readonly WatchRecord[]
}

const VERSION = 1

function encodeState(encoder: Encoder, state: ObjectState): void {
  encoder.size(state.size).u64(doubleBits(state.mtime)).bool(state.omap)
  encodeTable(encoder, state.chunks)
  encoder.u32(state.xattrs.size)
  for (const [name, value] of state.xattrs) encoder.string(name).bytes(value)
}

function decodeState(decoder: Decoder): ObjectState {
  const size = decoder.size()
  const mtime = bitsDouble(decoder.u64())
  const omap = decoder.bool()
  const chunks = decodeTable(decoder)
  const xattrs = new Map<string, Buffer>()
  for (let left = decoder.count(); left > 0; left--) {
    const name = decoder.string()
    xattrs.set(name, decoder.bytes())
  }
  return { size, mtime, chunks, xattrs, omap }
}

/** Runs of consecutive ids, and of holes: what is written in order takes next to no room. */
function encodeTable(encoder: Encoder, table: ChunkTable): void {
  const runs: [id: number, length: number][] = []
  for (const id of table) {
    const last = runs.at(-1)
    if (last && id === (last[0] === 0 ? 0 : last[0] + last[1])) last[1]++
    else runs.push([id, 1])
  }
  encoder.u32(runs.length)
  for (const [id, length] of runs) encoder.size(id).u32(length)
}

/** Chunks of the largest object that a head may describe, against damaged records. */
const MAX_CHUNKS = 2 ** 20

function decodeTable(decoder: Decoder): number[] {
  const table: number[] = []
  for (let runs = decoder.count(); runs > 0; runs--) {
    const id = decoder.size()
    const length = decoder.u32()
    if (table.length + length > MAX_CHUNKS) decoder.fail('too many chunks')
    for (let at = 0; at < length; at++) table.push(id === 0 ? 0 : id + at)
  }
  return table
}

export function encodeHead(head: ObjectHead): Buffer {
  const encoder = new Encoder(256)
  encoder.versioned(VERSION, VERSION, () => {
    encodeState(encoder, head)
    encoder.bool(head.exists).size(head.nextChunk).u64(head.snapSeq)
    encoder.u32(head.clones.length)
    for (const clone of head.clones) {
      encodeState(encoder, clone)
      encoder.u64(clone.id).size(clone.version).u32(clone.snaps.length)
      for (const snap of clone.snaps) encoder.u64(snap)
      encoder.u32(clone.overlap.length)
      for (const [offset, length] of clone.overlap) encoder.size(offset).size(length)
    }
    encoder.u32(head.watchers.length)
    for (const { clientId, cookie, address, timeoutSeconds } of head.watchers) {
      encoder.u64(clientId).u64(cookie).string(address).u32(timeoutSeconds)
    }
  })
  return encoder.finish()
}

/** @throws MalformedInput */
export function decodeHead(bytes: Buffer): ObjectHead {
  const decoder = new Decoder(bytes, 'object head')
  return decoder.versioned(VERSION, () => {
    const state = decodeState(decoder)
    const exists = decoder.bool()
    const nextChunk = decoder.size()
    const snapSeq = decoder.u64()
    const clones = list(decoder, (): Clone => {
      const cloneState = decodeState(decoder)
      const id = decoder.u64()
      const version = decoder.size()
      const snaps = list(decoder, () => decoder.u64())
      const overlap = list(decoder, (): ByteExtent => [decoder.size(), decoder.size()])
      return { ...cloneState, id, version, snaps, overlap }
    })
    const watchers = list(
      decoder,
      (): WatchRecord => ({ clientId: decoder.u64(), cookie: decoder.u64(), address: decoder.string(), timeoutSeconds: decoder.u32() }),
    )
    return { ...state, exists, nextChunk, snapSeq, clones, watchers }
  })
}

function list<T>(decoder: Decoder, element: () => T): T[] {
  return Array.from({ length: decoder.count() }, element)
}

const cell = new DataView(new ArrayBuffer(8))

function doubleBits(value: number): bigint {
  cell.setFloat64(0, value)
  return cell.getBigUint64(0)
}

function bitsDouble(bits: bigint): number {
  cell.setBigUint64(0, bits)
  return cell.getFloat64(0)
}
