import koffi from 'koffi'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import type { ByteExtent, SnapSet, Watcher } from '../../rados/io-ctx.ts'
import { Arena, copyFrom, cString, readNumber } from './memory.ts'
import { optionalFunction, type Pointer } from './native.ts'

/*
 * What the C API of librados lacks, through symbols of its C++ API (librados.hpp, ABI v14_2_0, the same in Ceph 16, 18 and 20). An
 * ObjectOperation of C++ is {vtable, impl}, an IoCtx is {impl}, and impl is what the C API calls rados_read_op_t or rados_ioctx_t; the
 * methods used here look at impl only. Containers are libstdc++'s with its C++11 ABI, on 64-bit little-endian machines.
 */

type OperationMethod = (operation: Buffer, ...args: (Pointer | bigint)[]) => void

interface Symbols {
  listSnaps: OperationMethod | undefined
  listWatchers: OperationMethod | undefined
  stat: OperationMethod | undefined
  rollback: ((operation: Buffer, snap: bigint) => void) | undefined
  duplicate: ((io: Buffer, from: Buffer) => void) | undefined
}

let symbols: Symbols | undefined

function load(): Symbols {
  return (symbols ??= {
    listSnaps: optionalFunction('_ZN8librados7v14_2_019ObjectReadOperation10list_snapsEPNS_10snap_set_tEPi', 'void', ['void *', 'uintptr_t', 'uintptr_t']),
    listWatchers: optionalFunction(
      '_ZN8librados7v14_2_019ObjectReadOperation13list_watchersEPNSt7__cxx114listI11obj_watch_tSaIS4_EEEPi',
      'void',
      ['void *', 'uintptr_t', 'uintptr_t'],
    ),
    stat: optionalFunction('_ZN8librados7v14_2_019ObjectReadOperation5stat2EPmP8timespecPi', 'void', ['void *', 'uintptr_t', 'uintptr_t', 'uintptr_t']),
    rollback: optionalFunction('_ZN8librados7v14_2_020ObjectWriteOperation25selfmanaged_snap_rollbackEm', 'void', ['void *', 'uint64_t']),
    duplicate: optionalFunction('_ZN8librados7v14_2_05IoCtx3dupERKS1_', 'void', ['void *', 'void *']),
  })
}

let operatorDelete: ((address: Pointer) => void) | undefined

/** Frees what libstdc++'s containers in librados have allocated. */
function freeNode(address: Pointer): void {
  operatorDelete ??= koffi.load('libstdc++.so.6').func('_ZdlPv', 'void', ['uintptr_t']) as unknown as (address: Pointer) => void
  if (address !== 0) operatorDelete(address)
}

/** A C++ object of one or two words: {vtable, impl} or {impl}. The vtable is never looked at. */
function facade(words: number, impl: Pointer): Buffer {
  const object = Buffer.alloc(words * 8)
  object.writeBigUInt64LE(BigInt(impl), (words - 1) * 8)
  return object
}

/** A read step outside the C API: its memory stays referenced by this object until the operation has completed. */
export interface ForeignStep<T> {
  take(): T
  free(): void
}

const SNAP_SET_CELLS = 5 // vector {begin, end, capacity}, seq; status
const CLONE_BYTES = 64 // u64 id, vector<u64> snaps, vector<pair<u64, u64>> overlap, u64 size
const VECTOR_BYTES = 24

/** Adds `list_snaps` to a read operation that goes to a context reading at SNAP_DIR; undefined if librados lacks it. */
export function addListSnaps(operation: Pointer): ForeignStep<SnapSet> | undefined {
  const { listSnaps } = load()
  if (!listSnaps) return undefined
  const arena = new Arena(SNAP_SET_CELLS)
  const set = arena.take(4)
  const status = arena.take()
  listSnaps(facade(2, operation), arena.at(set), arena.at(status))
  const clones = () => vectorBytes(arena.memory, set, CLONE_BYTES)
  return {
    take() {
      const bytes = clones()
      const snapSet: SnapSet = { seq: arena.u64(set + 24), clones: [] }
      for (let at = 0; at < bytes.length; at += CLONE_BYTES) {
        const snaps = vectorBytes(bytes, at + 8, 8)
        const overlap = vectorBytes(bytes, at + 8 + VECTOR_BYTES, 16)
        snapSet.clones.push({
          id: bytes.readBigUInt64LE(at),
          snaps: Array.from({ length: snaps.length / 8 }, (_, index) => snaps.readBigUInt64LE(index * 8)),
          overlap: Array.from({ length: overlap.length / 16 }, (_, index): ByteExtent => [
            readNumber(overlap, index * 16),
            readNumber(overlap, index * 16 + 8),
          ]),
          size: readNumber(bytes, at + 8 + 2 * VECTOR_BYTES),
        })
      }
      return snapSet
    },
    free() {
      const bytes = clones()
      for (let at = 0; at < bytes.length; at += CLONE_BYTES) {
        freeNode(readNumber(bytes, at + 8))
        freeNode(readNumber(bytes, at + 8 + VECTOR_BYTES))
      }
      freeNode(arena.number(set))
    },
  }
}

/** A copy of a std::vector's elements. */
function vectorBytes(memory: Buffer, offset: number, elementBytes: number): Buffer {
  const begin = readNumber(memory, offset)
  const length = readNumber(memory, offset + 8) - begin
  if (length < 0 || length % elementBytes !== 0) throw new MalformedInput('snapshot set', 'librados has another C++ ABI')
  return copyFrom(begin, length)
}

const LIST_NODE_BYTES = 16 + 280 // next, previous, obj_watch_t {char addr[256]; s64 watcher_id; u64 cookie; u32 timeout, padding}

/** Adds `list_watchers` to a read operation; undefined if librados lacks it. */
export function addListWatchers(operation: Pointer): ForeignStep<Watcher[]> | undefined {
  const { listWatchers } = load()
  if (!listWatchers) return undefined
  const arena = new Arena(4)
  const list = arena.take(3) // an empty std::list: {next = self, previous = self, size = 0}
  const status = arena.take()
  arena.setU64(list, arena.at(list))
  arena.setU64(list + 8, arena.at(list))
  listWatchers(facade(2, operation), arena.at(list), arena.at(status))
  const nodes = () => {
    const found: { address: Pointer; bytes: Buffer }[] = []
    for (let address = arena.number(list); address !== arena.at(list); ) {
      const bytes = copyFrom(address, LIST_NODE_BYTES)
      found.push({ address, bytes })
      address = readNumber(bytes, 0)
    }
    return found
  }
  return {
    take: () =>
      nodes().map(({ bytes }) => ({
        address: cString(bytes.subarray(16, 16 + 256)),
        clientId: bytes.readBigUInt64LE(272),
        cookie: bytes.readBigUInt64LE(280),
        timeoutSeconds: bytes.readUInt32LE(288),
      })),
    free: () => {
      for (const { address } of nodes()) freeNode(address)
    },
  }
}

/** Adds a stat with a time in nanoseconds (struct timespec), which the C API has only since Ceph 18; false if librados lacks it. */
export function addPreciseStat(operation: Pointer, size: Pointer, time: Pointer, status: Pointer): boolean {
  const { stat } = load()
  stat?.(facade(2, operation), size, time, status)
  return stat !== undefined
}

/** Adds a rollback of the object to a self-managed snapshot to a write operation; false if librados lacks it. */
export function addRollback(operation: Pointer, snap: bigint): boolean {
  const { rollback } = load()
  rollback?.(facade(2, operation), snap)
  return rollback !== undefined
}

/** Another native io context with the same pool, namespace and snapshots, without asking the cluster; undefined if librados lacks it. */
export function duplicateContext(io: Pointer): Pointer | undefined {
  const { duplicate } = load()
  if (!duplicate) return undefined
  const copy = facade(1, 0)
  duplicate(copy, facade(1, io))
  return readNumber(copy, 0)
}
