import * as journal from '../../src/cls/journal/client.ts'
import { TAG_CLASS_NEW, type ObjectSetPosition } from '../../src/cls/journal/types.ts'
import * as lock from '../../src/cls/lock/client.ts'
import { LockInfo } from '../../src/cls/lock/types.ts'
import * as rbd from '../../src/cls/rbd/client.ts'
import * as mirror from '../../src/cls/rbd/mirror-client.ts'
import {
  MirrorImageSiteStatusOnDisk,
  MirrorPeer,
  type MirrorImageSiteStatus,
  type MirrorImageStatus,
} from '../../src/cls/rbd/mirror-types.ts'
import * as pool from '../../src/cls/rbd/pool-client.ts'
import { StoredSnapshot, type ParentImageSpec, type SnapshotInfo, type SnapshotNamespace } from '../../src/cls/rbd/types.ts'
import { decode, encode, zeroTime, type Codec, type Utime } from '../../src/encoding/codec.ts'
import { ENTITY_TYPE_CLIENT, type EntityInst, type EntityName } from '../../src/encoding/entity.ts'
import { NO_SNAP } from '../../src/rados/io-ctx.ts'
import { WriteOperation } from '../../src/rados/operation.ts'
import type { AnyMethod, Call, Choices, MaskValue, Side, Step } from './class-comparison.ts'

/* Random calls of every method that the project has, by the kind of object they are for. */

/** What is called on one kind of object: calls are drawn from small sets of values, so that they meet. */
export interface ObjectKind {
  readonly name: string
  /** first steps of most runs, so that the others find something */
  start?(choices: Choices): Step[]
  readonly calls: readonly ((choices: Choices) => Call)[]
  readonly extra?: readonly ((choices: Choices) => Step)[]
  readonly mask?: MaskValue
  /** Kinds with many methods get more runs; 1 if not given. */
  readonly weight?: number
  /**
   * Its methods read data that others write: not in one operation, where an OSD compares the old bytes with the new checksum, takes the
   * object for damaged and never answers.
   */
  readonly readsData?: boolean
}

const NO_LIMIT = 0xffffffffffffffffn
const MASKED_TIME: Utime = { sec: 1, nsec: 0 }
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/
const maskTime = (time: Utime) => (time.sec === 0 && time.nsec === 0 ? zeroTime : MASKED_TIME)
const maskUuid = (text: string) => text.replace(UUID, 'made-up')

function call<A>(method: { readonly definition: AnyMethod['definition'] & { readonly input: Codec<A> } }, args: A | ((side: Side) => A), mask?: (answer: never, side: Side) => unknown): Call {
  const make = typeof args === 'function' ? (args as (side: Side) => A) : () => args
  return { method, args: make, ...(mask && { mask }) }
}

/** Changes a stored value that the codec writes back as it was read; one that it does not stays as it is, and differs. */
function masked<T>(codec: Codec<T>, value: Buffer, change: (decoded: T) => T): Buffer {
  const decoded = decode(codec, value, 'stored value')
  if (!encode(codec, decoded).equals(value)) return value
  return encode(codec, change(decoded))
}

const page = (choices: Choices, keys: readonly string[]) => ({
  startAfter: choices.pick(['', '', '', ...keys]),
  max: choices.pick([0, 1, 2, 3, 64, 1024, Number.MAX_SAFE_INTEGER]),
})
const exec = (made: Call, client = 0): Step => ({ type: 'exec', client, call: made })

// --- header ---

const FEATURES = [0n, 1n, 3n, 3n, 61n, 63n, 125n, 1n | 1024n]
const snapIds = [1n, 2n, 3n, 1n, 2n, 3n, 4n, 0xffn, NO_SNAP, NO_SNAP + 1n]
const snapNames = ['a', 'b', 'c', 'ü']
const parents: ParentImageSpec[] = [
  { poolId: 3n, poolNamespace: '', imageId: 'p1', snapId: 9n },
  { poolId: 3n, poolNamespace: 'ns', imageId: 'p1', snapId: 9n },
  { poolId: 4n, poolNamespace: '', imageId: 'p2', snapId: 5n },
  { poolId: -1n, poolNamespace: '', imageId: '', snapId: NO_SNAP },
]
const children = [
  { poolId: 3n, poolNamespace: '', imageId: 'c1' },
  { poolId: 3n, poolNamespace: 'ns', imageId: 'c0' },
  { poolId: 2n, poolNamespace: 'z', imageId: 'c1' },
]
const peerUuids = ['peer-1', 'peer-2']

function snapshotNamespace(choices: Choices): SnapshotNamespace {
  const mirrorNamespace = (): SnapshotNamespace => ({
    type: 'mirror',
    state: choices.pick(['primary', 'primary-demoted', 'non-primary', 'non-primary-demoted'] as const),
    complete: choices.chance(0.5),
    mirrorPeerUuids: new Set(choices.some([...peerUuids].reverse())),
    primaryMirrorUuid: choices.pick(['', 'primary']),
    primarySnapId: choices.pick([NO_SNAP, 4n]),
    lastCopiedObjectNumber: choices.int(5),
    snapSeqs: new Map(choices.some([[200n, 5n] as const, [3n, 4n] as const])),
  })
  return choices.pick<() => SnapshotNamespace>([
    () => ({ type: 'user' }),
    () => ({ type: 'user' }),
    () => ({ type: 'group', groupPool: choices.pick([1n, 2n]), groupId: 'g', groupSnapshotId: 's' }),
    () => ({ type: 'trash', originalName: choices.pick(['x', 'y']), originalType: 'user' }),
    mirrorNamespace,
    mirrorNamespace,
    mirrorNamespace,
    () => ({ type: 'unknown', tag: 99, raw: Buffer.from('raw') }),
  ])()
}

const maskSnapshotNames = (name: string, namespace: SnapshotNamespace) => (namespace.type === 'trash' ? maskUuid(name) : name)
const maskSnapshot = (info: SnapshotInfo): SnapshotInfo => ({
  ...info,
  name: maskSnapshotNames(info.name, info.namespace),
  timestamp: maskTime(info.timestamp),
})

const createImage = (choices: Choices) =>
  call(rbd.create, {
    size: choices.pick([0, 1000, 1 << 30]),
    order: choices.pick([12, 22]),
    features: choices.pick(FEATURES),
    objectPrefix: 'rbd_data.x',
    dataPoolId: -1n,
  })
const noneOf = undefined as void

const header: ObjectKind = {
  name: 'header',
  weight: 6,
  start: (choices) => [
    exec(createImage(choices)),
    ...[1n, 2n, 3n].slice(choices.int(3)).map((snapId) =>
      exec(call(rbd.snapshotAdd, { name: `s${snapId}`, snapId, namespace: snapshotNamespace(choices) })),
    ),
    ...choices.some(children).map((child) => exec(call(rbd.childAttach, { snapId: 3n, child }))),
  ],
  calls: [
    createImage,
    (choices) =>
      call(rbd.create, {
        size: 77,
        order: 22,
        features: choices.pick([1n, 128n, 256n, 512n, 1n << 11n, 1n << 12n, 1n << 40n]),
        objectPrefix: choices.pick(['', 'rbd_data.y']),
        dataPoolId: choices.pick([-1n, 5n]),
      }),
    (choices) => call(rbd.getSize, { snapId: choices.pick(snapIds) }),
    (choices) => call(rbd.setSize, { size: choices.pick([0, 10, 500, 2 ** 40]) }),
    (choices) => call(rbd.getFeatures, { snapId: choices.pick(snapIds), readOnly: choices.chance(0.5) }),
    (choices) => call(rbd.setFeatures, { features: BigInt(choices.int(4096)), mask: BigInt(choices.int(4096)) }),
    (choices) => call(rbd.setFeatures, { features: choices.pick([0n, 4n, 12n, 28n, 64n, 1n << 20n]), mask: choices.pick([4n, 12n, 24n, 32n, 64n, 1024n, 1n << 20n, 2n]) }),
    () => call(rbd.getAllFeatures, noneOf),
    () => call(rbd.getObjectPrefix, noneOf),
    () => call(rbd.getDataPool, noneOf),
    () => call(rbd.getStripeUnitCount, noneOf),
    (choices) => call(rbd.setStripeUnitCount, { stripeUnit: choices.pick([0, 4096, 65536, 3000, 2 ** 23]), stripeCount: choices.pick([0, 1, 5]) }),
    (choices) => call(rbd.getFlags, { snapId: choices.pick(snapIds) }),
    (choices) => call(rbd.setFlags, { flags: BigInt(choices.int(8)), mask: BigInt(choices.int(8)), snapId: choices.pick(snapIds) }),
    () => call(rbd.opFeaturesGet, noneOf),
    (choices) => call(rbd.opFeaturesSet, { opFeatures: BigInt(choices.int(16)), mask: BigInt(choices.int(20)) }),
    () => call(rbd.getCreateTimestamp, noneOf, maskTime),
    () => call(rbd.getAccessTimestamp, noneOf, maskTime),
    () => call(rbd.getModifyTimestamp, noneOf, maskTime),
    () => call(rbd.setAccessTimestamp, noneOf),
    () => call(rbd.setModifyTimestamp, noneOf),
    () => call(rbd.getSnapcontext, noneOf),
    (choices) => call(rbd.snapshotGet, { snapId: choices.pick(snapIds) }, maskSnapshot),
    (choices) => call(rbd.getSnapshotName, { snapId: choices.pick(snapIds) }, maskUuid),
    (choices) => call(rbd.getSnapshotTimestamp, { snapId: choices.pick(snapIds) }, maskTime),
    (choices) => call(rbd.snapshotAdd, { name: choices.pick(snapNames), snapId: choices.pick(snapIds), namespace: snapshotNamespace(choices) }),
    (choices) => call(rbd.snapshotAdd, { name: choices.pick(snapNames), snapId: BigInt(choices.int(12)), namespace: snapshotNamespace(choices) }),
    (choices) => call(rbd.snapshotRemove, { snapId: choices.pick(snapIds) }),
    (choices) => call(rbd.snapshotRename, { snapId: choices.pick(snapIds), name: choices.pick(snapNames) }),
    (choices) => call(rbd.snapshotTrashAdd, { snapId: choices.pick(snapIds) }),
    (choices) => call(rbd.getProtectionStatus, { snapId: choices.pick(snapIds) }),
    (choices) =>
      call(rbd.setProtectionStatus, { snapId: choices.pick(snapIds), status: choices.pick(['unprotected', 'unprotected', 'unprotecting', 'protected'] as const) }),
    () => call(rbd.snapshotGetLimit, noneOf),
    (choices) => call(rbd.snapshotSetLimit, { limit: choices.pick([0n, 1n, 2n, 5n, NO_LIMIT, NO_LIMIT]) }),
    (choices) => call(rbd.metadataSet, { metadata: new Map(choices.some([['b', Buffer.from('1')] as const, ['a', choices.bytes(3)] as const])) }),
    (choices) => call(rbd.metadataGet, { key: choices.pick(['a', 'b', '']) }),
    () => call(rbd.parentGet, noneOf),
    (choices) => call(rbd.parentOverlapGet, { snapId: choices.pick(snapIds) }),
    (choices) =>
      call(rbd.parentAttach, { parent: choices.pick(parents), overlap: choices.pick([0, 5, 700, 2 ** 41]), reattach: choices.chance(0.2) }),
    (choices) =>
      call(rbd.parentAttach, { parent: parents[choices.int(2)]!, overlap: 900, reattach: false }),
    () => call(rbd.parentDetach, noneOf),
    (choices) => call(rbd.getParent, { snapId: choices.pick(snapIds) }),
    (choices) => call(rbd.setParent, { parent: choices.pick(parents), overlap: choices.pick([0, 5, 700]) }),
    () => call(rbd.removeParent, noneOf),
    (choices) => call(rbd.childAttach, { snapId: choices.pick(snapIds.slice(0, 3)), child: choices.pick(children) }),
    (choices) => call(rbd.childDetach, { snapId: choices.pick(snapIds.slice(0, 3)), child: choices.pick(children) }),
    (choices) => call(rbd.childrenList, { snapId: choices.pick(snapIds) }),
    (choices) =>
      call(rbd.migrationSet, {
        headerType: choices.pick(['source', 'destination'] as const),
        poolId: 3n,
        poolNamespace: 'ns',
        imageName: 'name',
        imageId: 'id',
        snapSeqs: new Map([[3n, 4n]]),
        overlap: 100,
        flatten: false,
        mirroring: true,
        mirrorImageMode: 'snapshot',
        state: 'preparing',
        stateDescription: '',
        sourceSpec: choices.pick(['', '{}']),
      }),
    () => call(rbd.migrationSetState, { state: 'executing', description: 'text' }),
    () => call(rbd.migrationGet, noneOf),
    () => call(rbd.migrationRemove, noneOf),
    (choices) => call(pool.imageGroupAdd, { poolId: choices.pick([1n, 2n]), groupId: 'g' }),
    (choices) => call(pool.imageGroupRemove, { poolId: choices.pick([1n, 2n]), groupId: 'g' }),
    () => call(pool.imageGroupGet, noneOf),
    (choices) => call(mirror.mirrorImageSnapshotUnlinkPeer, { snapId: choices.pick(snapIds), mirrorPeerUuid: choices.pick(peerUuids) }),
    (choices) =>
      call(mirror.mirrorImageSnapshotSetCopyProgress, {
        snapId: choices.pick(snapIds),
        complete: choices.chance(0.5),
        lastCopiedObjectNumber: choices.int(100),
      }),
  ],
  mask(key, value) {
    if (key.endsWith('_timestamp')) return [key, Buffer.alloc(value.length)]
    if (!/^snapshot_/.test(key)) return [key, value]
    return [
      key,
      masked(StoredSnapshot, value, (snapshot) => ({
        ...snapshot,
        name: maskSnapshotNames(snapshot.name, snapshot.namespace),
        timestamp: maskTime(snapshot.timestamp),
      })),
    ]
  },
}

// --- tables of names ---

const names = ['one', 'two', 'three', 'ö']
const ids = ['1', 'a2', 'zz', 'no valid id', '']
const named = (choices: Choices) => ({ name: choices.pick([...names, '']), id: choices.pick(ids) })

const directory: ObjectKind = {
  name: 'directory',
  start: () => [
    exec(call(rbd.dirAddImage, { name: 'one', id: '1' })),
    exec(call(rbd.dirAddImage, { name: 'two', id: 'a2' })),
  ],
  calls: [
    (choices) => call(rbd.dirAddImage, named(choices)),
    (choices) => call(rbd.dirAddImage, named(choices)),
    (choices) => call(rbd.dirRemoveImage, named(choices)),
    () => call(rbd.dirRemoveImage, { name: 'one', id: '1' }),
    (choices) => call(rbd.dirRenameImage, { from: choices.pick(names), to: choices.pick(names), id: choices.pick(ids) }),
    (choices) => call(rbd.dirRenameImage, { from: 'two', to: choices.pick(names), id: 'a2' }),
    (choices) => call(rbd.dirGetId, { name: choices.pick(names) }),
    (choices) => call(rbd.dirGetName, { id: choices.pick(ids) }),
    (choices) => call(rbd.dirList, page(choices, names)),
    (choices) => call(rbd.dirStateSet, { state: choices.pick(['ready', 'add-disabled'] as const) }),
    (choices) => call(rbd.dirStateAssert, { state: choices.pick(['ready', 'add-disabled'] as const) }),
  ],
}

const groupDirectory: ObjectKind = {
  name: 'group directory',
  start: () => [exec(call(pool.groupDirAdd, { name: 'one', id: '1' })), exec(call(pool.groupDirAdd, { name: 'two', id: 'a2' }))],
  calls: [
    (choices) => call(pool.groupDirAdd, named(choices)),
    (choices) => call(pool.groupDirRemove, named(choices)),
    () => call(pool.groupDirRemove, { name: 'one', id: '1' }),
    (choices) => call(pool.groupDirRename, { from: choices.pick(names), to: choices.pick(names), id: choices.pick(ids) }),
    (choices) => call(pool.groupDirRename, { from: 'two', to: choices.pick(names), id: 'a2' }),
    (choices) => call(pool.groupDirList, page(choices, names)),
  ],
}

const imageId: ObjectKind = {
  name: 'image id',
  readsData: true,
  calls: [(choices) => call(rbd.setId, { id: choices.pick(ids) }), () => call(rbd.getId, noneOf)],
}

const trashStates = ['normal', 'moving', 'removing', 'restoring'] as const
const addToTrash = (choices: Choices, imageId: string) =>
  call(pool.trashAdd, {
    imageId,
    spec: {
      source: choices.pick(['user', 'mirroring', 'migration'] as const),
      name: choices.pick(names),
      deletionTime: { sec: 5, nsec: 6 },
      defermentEndTime: zeroTime,
      state: choices.pick(trashStates),
    },
  })

const tables: ObjectKind = {
  name: 'trash, namespaces, metadata',
  start: (choices) => ids.map((imageId) => exec(addToTrash(choices, imageId))),
  calls: [
    (choices) => addToTrash(choices, choices.pick(ids)),
    (choices) => call(pool.trashRemove, { imageId: choices.pick(ids) }),
    (choices) => call(pool.trashList, page(choices, ids)),
    (choices) => call(pool.trashGet, { imageId: choices.pick(ids) }),
    ...[0, 1].map(
      () => (choices: Choices) =>
        call(pool.trashStateSet, { imageId: choices.pick(ids), state: choices.pick(trashStates), expect: choices.pick(trashStates) }),
    ),
    (choices) => call(pool.namespaceAdd, { name: choices.pick([...names, '']) }),
    (choices) => call(pool.namespaceRemove, { name: choices.pick(names) }),
    (choices) => call(pool.namespaceList, page(choices, names)),
    (choices) => call(rbd.metadataSet, { metadata: new Map(choices.some(names).map((name) => [name, choices.bytes(2)])) }),
    (choices) => call(rbd.metadataRemove, { key: choices.pick(names) }),
    (choices) => call(rbd.metadataList, page(choices, names)),
    (choices) => call(rbd.metadataGet, { key: choices.pick(names) }),
  ],
}

const clonesV1: ObjectKind = {
  name: 'children',
  calls: [0, 1, 2].flatMap(() => [
    (choices: Choices) =>
      call(rbd.addChild, { parent: { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }, childId: choices.pick(['c', 'b', 'd']) }),
    (choices: Choices) =>
      call(rbd.removeChild, { parent: { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }, childId: choices.pick(['c', 'b', 'd']) }),
    (choices: Choices) => call(rbd.getChildren, { poolId: choices.pick([3n, 4n]), imageId: 'p', snapId: 9n }),
  ]),
}

// --- object maps ---

const mapSizes = [0, 1, 3, 4, 5, 17, 40, 16_383, 16_384, 16_385, 40_000]

/** A vector without sums, as clients send it. */
function bitVector(choices: Choices, count: number): Buffer {
  const states = choices.chance(0.5) ? choices.bytes(Math.ceil(count / 4)) : Buffer.alloc(Math.ceil(count / 4), 0x55)
  const header = Buffer.alloc(18)
  header.writeUInt32LE(14, 0)
  header.writeUInt8(1, 4)
  header.writeUInt8(1, 5)
  header.writeUInt32LE(8, 6)
  header.writeBigUInt64LE(BigInt(count), 10)
  return Buffer.concat([header, states, Buffer.alloc(4)])
}
/** Made once: the arguments are asked for twice. */
const withVector = (choices: Choices) => ({ bitVector: bitVector(choices, choices.pick(mapSizes)) })

const objectMap: ObjectKind = {
  name: 'object map',
  readsData: true,
  start: (choices) => [exec(choices.chance(0.5) ? call(rbd.objectMapSave, withVector(choices)) : call(rbd.objectMapResize, { objectCount: choices.pick(mapSizes), defaultState: choices.int(4) }))],
  calls: [
    (choices) => call(rbd.objectMapSave, withVector(choices)),
    () => call(rbd.objectMapLoad, noneOf),
    (choices) => call(rbd.objectMapResize, { objectCount: choices.pick([...mapSizes, 256_000_001]), defaultState: choices.pick([0, 0, 1, 2, 3, 5]) }),
    ...[0, 1, 2].map(() => (choices: Choices) => {
      const start = choices.pick([0, 1, 2, 5, 16_000, 16_383, 16_384, 33_000])
      return call(rbd.objectMapUpdate, {
        start,
        end: start + choices.pick([0, 1, 1, 3, 7, 390, 17_000]),
        newState: choices.pick([0, 1, 2, 3, 6]),
        currentState: choices.pick([undefined, 0, 1, 2, 3]),
      })
    }),
    () => call(rbd.objectMapSnapAdd, noneOf),
    (choices) => call(rbd.objectMapSnapRemove, withVector(choices)),
  ],
  extra: [
    // damage
    (choices) => {
      const at = choices.pick([0, 3, 10, 18, 20, 30])
      const byte = choices.bytes(1)
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().write(at, byte)) }
    },
    (choices) => {
      // of a map that ends with its header an OSD makes up the rest from what is in its memory
      const size = choices.pick([0, 5, 25])
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().truncate(size)) }
    },
  ],
}

// --- data objects ---

const data: ObjectKind = {
  name: 'data',
  readsData: true,
  calls: [
    (choices) => call(rbd.copyup, { data: choices.bytes(choices.int(40)) }),
    (choices) => {
      const extents = new Map(choices.some([[0, 4] as const, [100, 3] as const, [40, 8] as const, [60, 0] as const]))
      return call(rbd.sparseCopyup, { extents, data: choices.bytes(choices.pick([15, 15, 6])) })
    },
    (choices) => call(rbd.assertSnapcSeq, { seq: BigInt(choices.int(8)), state: choices.pick(['greater-than-snapset-seq', 'at-most-snapset-seq'] as const) }),
    (choices) => call(rbd.sparsify, { sparseSize: choices.pick([1, 4, 8, 4096]), removeEmpty: choices.chance(0.5) }),
  ],
  extra: [
    (choices) => {
      const content = Buffer.alloc(choices.pick([8, 64, 100]))
      for (const at of choices.some([0, 1, 9, 31, 32, 63, 99])) if (at < content.length) content[at] = 7
      return { type: 'prepare', run: (io, oid) => io.write(oid, new WriteOperation().writeFull(content)) }
    },
    (choices) => {
      const seq = BigInt(choices.int(5) + 1)
      return {
        type: 'prepare',
        async run(io, oid) {
          const under = io.duplicate({ snapContext: { seq, snaps: [seq] } })
          try {
            await under.write(oid, new WriteOperation().write(0, Buffer.from('under a snapshot')))
          } finally {
            under.close()
          }
        },
      }
    },
    () => ({ type: 'prepare', run: (io, oid) => io.remove(oid) }),
  ],
}

// --- mirroring ---

const images = ['id1', 'id2', 'id3', 'id4']
const globals = ['global1', 'global2', 'global3', 'global4', 'global4_b']
const sites = ['site-a', 'site-b', '']
const uuids = ['', 'uuid-a', 'uuid-b']
const directions = ['rx', 'tx', 'rx-tx'] as const
const states = ['unknown', 'error', 'syncing', 'starting_replay', 'replaying', 'stopping_replay', 'stopped'] as const

const maskOrigin = (origin: EntityInst, side: Side): EntityInst => ({
  name: { ...origin.name, num: side.clientOf(origin.name.num) },
  addr: { ...origin.addr, nonce: 0, sockaddr: Buffer.alloc(origin.addr.sockaddr.length) },
})
const maskSite = (status: MirrorImageSiteStatus): MirrorImageSiteStatus => ({ ...status, lastUpdate: maskTime(status.lastUpdate) })
const maskStatus = (status: MirrorImageStatus): MirrorImageStatus => ({
  local: status.local && maskSite(status.local),
  remotes: status.remotes.map(maskSite),
})
const maskMap = <T>(change: (value: T, side: Side) => T) => (map: Map<string, T>, side: Side) => new Map([...map].map(([key, value]) => [key, change(value, side)]))
const maskPeer = (peer: MirrorPeer): MirrorPeer => ({ ...peer, uuid: maskUuid(peer.uuid), lastSeen: maskTime(peer.lastSeen) })
/** Uuids that a class made up stand elsewhere in the order. */
const maskPeers = (peers: MirrorPeer[]) => peers.map(maskPeer).sort((a, b) => Buffer.compare(encode(MirrorPeer, a), encode(MirrorPeer, b)))

function peer(choices: Choices): MirrorPeer {
  return {
    uuid: choices.pick(['peer-1', 'peer-2', 'peer-3', 'pool', '']),
    siteName: choices.pick(sites),
    clientName: choices.pick(['client.x', 'client.x', '']),
    direction: choices.pick(directions),
    mirrorUuid: choices.pick(uuids),
    lastSeen: zeroTime,
  }
}

const siteStatus = (choices: Choices, mirrorUuid: string): MirrorImageSiteStatus => ({
  mirrorUuid,
  state: choices.pick(states),
  description: choices.pick(['', 'text']),
  lastUpdate: zeroTime,
  up: true,
})

const setImage = (choices: Choices, state: 'enabled' | 'disabling' | 'creating' | 'disabled', which = choices.int(4)) =>
  call(mirror.mirrorImageSet, {
    imageId: images[which]!,
    image: { globalImageId: globals[choices.chance(0.9) ? which : choices.int(5)]!, state, mode: choices.pick(['journal', 'snapshot'] as const) },
  })

const mirroring: ObjectKind = {
  name: 'mirroring',
  weight: 3,
  start: (choices) => [
    exec(call(mirror.mirrorUuidSet, { uuid: 'pool' })),
    exec(call(mirror.mirrorModeSet, { mode: choices.pick(['image', 'pool', 'image', 'disabled'] as const) })),
    ...choices.some([0, 1, 2, 3]).map((which) => exec(setImage(choices, 'enabled', which))),
    ...choices.some([0, 1]).map((client): Step => ({ type: 'watch', client, on: true })),
    exec(call(mirror.mirrorPeerAdd, { ...peer(choices), clientName: 'client.y', uuid: 'peer-2', direction: 'rx' })),
    ...globals.map((globalImageId, client) => exec(call(mirror.mirrorImageStatusSet, { globalImageId, status: siteStatus(choices, '') }), client % 2)),
  ],
  calls: [
    () => call(mirror.mirrorUuidGet, noneOf),
    (choices) => call(mirror.mirrorUuidSet, { uuid: choices.pick(['', 'pool', 'other']) }),
    () => call(mirror.mirrorModeGet, noneOf),
    (choices) => call(mirror.mirrorModeSet, { mode: choices.pick(['image', 'pool', 'disabled'] as const) }),
    () => call(mirror.mirrorPeerList, noneOf, maskPeers),
    (choices) => call(mirror.mirrorPeerPing, { siteName: choices.pick(sites), mirrorUuid: choices.pick(uuids) }),
    (choices) => call(mirror.mirrorPeerAdd, peer(choices)),
    (choices) => call(mirror.mirrorPeerAdd, { ...peer(choices), clientName: 'client.y', uuid: 'peer-1' }),
    (choices) => call(mirror.mirrorPeerRemove, { uuid: choices.pick(['peer-1', 'peer-2']) }),
    (choices) => call(mirror.mirrorPeerSetClient, { uuid: choices.pick(['peer-1', 'peer-2']), clientName: 'client.z' }),
    (choices) => call(mirror.mirrorPeerSetCluster, { uuid: choices.pick(['peer-1', 'peer-2']), siteName: choices.pick(sites) }),
    (choices) => call(mirror.mirrorPeerSetDirection, { uuid: choices.pick(['peer-1', 'peer-2']), direction: choices.pick(directions) }),
    (choices) => call(mirror.mirrorImageList, page(choices, images)),
    (choices) => call(mirror.mirrorImageGetImageId, { globalImageId: choices.pick(globals) }),
    (choices) => call(mirror.mirrorImageGet, { imageId: choices.pick(images) }),
    (choices) => setImage(choices, 'enabled'),
    (choices) => setImage(choices, choices.pick(['disabling', 'creating', 'disabled'] as const)),
    (choices) => setImage(choices, 'disabling'),
    (choices) => call(mirror.mirrorImageRemove, { imageId: choices.pick(images) }),
    ...[0, 1, 2, 3, 4].map(
      () => (choices: Choices) =>
        call(mirror.mirrorImageStatusSet, { globalImageId: choices.pick(globals), status: siteStatus(choices, choices.pick(uuids)) }),
    ),
    (choices) => call(mirror.mirrorImageStatusRemove, { globalImageId: choices.pick(globals) }),
    (choices) => call(mirror.mirrorImageStatusGet, { globalImageId: choices.pick(globals) }, maskStatus),
    (choices) =>
      call(mirror.mirrorImageStatusList, page(choices, images), ({ images, statuses }: { images: unknown; statuses: Map<string, MirrorImageStatus> }) => ({
        images,
        statuses: maskMap(maskStatus)(statuses, undefined as never),
      })),
    (choices) => call(mirror.mirrorImageStatusGetSummary, { peers: choices.some([1, 2, 3]).map(() => peer(choices)) }),
    () => call(mirror.mirrorImageStatusRemoveDown, noneOf),
    (choices) => call(mirror.mirrorImageInstanceGet, { globalImageId: choices.pick(globals) }, maskOrigin),
    (choices) => call(mirror.mirrorImageInstanceList, page(choices, images), maskMap(maskOrigin)),
  ],
  extra: [
    (choices) => ({ type: 'watch', client: choices.int(2), on: choices.chance(0.6) }),
    (choices) => ({ type: 'watch', client: choices.int(2), on: choices.chance(0.6) }),
  ],
  mask(key, value, side) {
    if (key.startsWith('mirror_peer_')) return [maskUuid(key), masked(MirrorPeer, value, maskPeer)]
    if (!/^(remote_)?status_global_/.test(key)) return [key, value]
    return [key, masked(MirrorImageSiteStatusOnDisk, value, ({ origin, status }) => ({ origin: maskOrigin(origin, side), status: maskSite(status) }))]
  },
}

const leader: ObjectKind = {
  name: 'leader',
  calls: [
    () => call(mirror.mirrorInstancesList, noneOf),
    (choices) => call(mirror.mirrorInstancesAdd, { instanceId: choices.pick(['4123', '5', '']) }),
    (choices) => call(mirror.mirrorInstancesRemove, { instanceId: choices.pick(['4123', '5']) }),
    (choices) => call(mirror.mirrorImageMapList, page(choices, globals)),
    (choices) =>
      call(mirror.mirrorImageMapUpdate, {
        globalImageId: choices.pick(globals),
        map: { instanceId: choices.pick(['', '5']), mappedTime: { sec: 3, nsec: 4 }, data: choices.bytes(3) },
      }),
    (choices) => call(mirror.mirrorImageMapRemove, { globalImageId: choices.pick(globals) }),
  ],
}

// --- groups ---

const groupImage = (choices: Choices) => ({ imageId: choices.pick(images), poolId: choices.pick([1n, 2n, 0x1fn]) })
const groupSnapshot = (choices: Choices) => ({
  id: choices.pick(['s1', 's2', '']),
  name: choices.pick(['n1', 'n2', '']),
  state: choices.pick(['incomplete', 'complete'] as const),
  snaps: choices.some([{ poolId: 1n, imageId: 'i', snapId: 4n }]),
})
const group: ObjectKind = {
  name: 'group',
  calls: [
    (choices) => call(pool.groupImageSet, { spec: groupImage(choices), state: choices.pick(['attached', 'incomplete'] as const) }),
    (choices) => call(pool.groupImageRemove, groupImage(choices)),
    (choices) =>
      call(pool.groupImageList, { startAfter: choices.pick([{ imageId: '', poolId: -1n }, groupImage(choices)]), max: choices.pick([0, 1, 2, 1024]) }),
    (choices) => call(pool.groupSnapSet, groupSnapshot(choices)),
    (choices) => call(pool.groupSnapSet, { ...groupSnapshot(choices), id: 's1', name: 'n1' }),
    (choices) => call(pool.groupSnapRemove, { snapId: choices.pick(['s1', 's2']) }),
    (choices) => call(pool.groupSnapGetById, { snapId: choices.pick(['s1', 's2']) }),
    (choices) => call(pool.groupSnapList, { startAfter: { ...groupSnapshot(choices), id: choices.pick(['', 's1']) }, max: choices.pick([0, 1, 1024]) }),
  ],
}

// --- journals ---

const clients = ['', 'c1', 'c2', 'c3']
const position = (choices: Choices): ObjectSetPosition => ({
  objectPositions: [0, 1, 2].slice(choices.int(4)).map((objectNumber) => ({
    objectNumber,
    tagTid: BigInt(choices.int(6)),
    entryTid: BigInt(choices.int(9)),
  })),
})
const journalHeader: ObjectKind = {
  name: 'journal',
  start(choices) {
    return [
      exec(call(journal.create, { order: 24, splayWidth: 2, poolId: -1n })),
      ...choices.some(clients).map((id) => exec(call(journal.clientRegister, { id, data: Buffer.from('data') }))),
      exec(call(journal.tagCreate, { tid: 0n, tagClass: TAG_CLASS_NEW, data: Buffer.from('t') })),
      ...[1n, 2n, 3n, 4n, 5n, 6n]
        .slice(choices.int(6))
        .map((_, index) =>
          exec(call(journal.tagCreate, { tid: BigInt(index + 1), tagClass: choices.pick([0n, 0n, TAG_CLASS_NEW]), data: Buffer.from('t') })),
        ),
    ]
  },
  calls: [
    (choices) => call(journal.create, { order: choices.int(30), splayWidth: choices.int(5), poolId: 3n }),
    () => call(journal.getOrder, noneOf),
    () => call(journal.getSplayWidth, noneOf),
    () => call(journal.getPoolId, noneOf),
    () => call(journal.getMinimumSet, noneOf),
    (choices) => call(journal.setMinimumSet, { objectSet: choices.int(5) }),
    () => call(journal.getActiveSet, noneOf),
    (choices) => call(journal.setActiveSet, { objectSet: choices.int(7) }),
    (choices) => call(journal.getClient, { id: choices.pick(clients) }),
    (choices) => call(journal.clientRegister, { id: choices.pick(clients), data: choices.bytes(2) }),
    (choices) => call(journal.clientUpdateData, { id: choices.pick(clients), data: choices.bytes(2) }),
    (choices) => call(journal.clientUpdateState, { id: choices.pick(clients), state: choices.pick(['connected', 'connected', 'disconnected'] as const) }),
    (choices) => call(journal.clientUnregister, { id: choices.pick(clients) }),
    (choices) => call(journal.clientCommit, { id: choices.pick(clients), commitPosition: position(choices) }),
    (choices) => call(journal.clientCommit, { id: choices.pick(clients), commitPosition: position(choices) }),
    (choices) => call(journal.clientList, page(choices, clients)),
    () => call(journal.getNextTagTid, noneOf),
    (choices) => call(journal.getTag, { tid: BigInt(choices.int(8)) }),
    (choices) => call(journal.tagCreate, { tid: BigInt(choices.int(9)), tagClass: choices.pick([0n, 1n, 2n, TAG_CLASS_NEW]), data: choices.bytes(2) }),
    (choices) => call(journal.tagCreate, { tid: BigInt(choices.int(9)), tagClass: 0n, data: choices.bytes(2) }),
    (choices) =>
      call(journal.tagList, {
        startAfter: BigInt(choices.int(5)),
        max: choices.pick([0, 1, 2, 256]),
        clientId: choices.pick(clients),
        tagClass: choices.pick([undefined, 0n, 1n]),
      }),
  ],
}

const journalData: ObjectKind = {
  name: 'journal data',
  readsData: true,
  calls: [
    (choices) => call(journal.guardAppend, { softMaxSize: choices.pick([0, 10, 100]) }),
    (choices) => call(journal.append, { softMaxSize: choices.pick([0, 10, 100, 1000]), data: choices.bytes(choices.pick([0, 1, 8, 13, 16])) }),
  ],
}

// --- locks ---

const lockNames = ['rbd_lock', 'other', '']
const cookies = ['auto 1', 'auto 2']
const lockTypes = ['none', 'exclusive', 'shared', 'shared', 'exclusive-ephemeral'] as const
const tags = ['', 'internal']
const locking = (choices: Choices) => ({
  name: choices.pick(lockNames),
  type: choices.pick(lockTypes),
  cookie: choices.pick(cookies),
  tag: choices.pick(tags),
})
const locker = (choices: Choices) => {
  const client = choices.int(2)
  return (side: Side): EntityName => ({ type: ENTITY_TYPE_CLIENT, num: side.instance(client) })
}
const maskLock = (info: LockInfo, side: Side): LockInfo => ({
  ...info,
  lockers: info.lockers.map((one) => ({
    ...one,
    locker: { ...one.locker, num: side.clientOf(one.locker.num) },
    expiration: maskTime(one.expiration),
    addr: { ...one.addr, nonce: 0, sockaddr: Buffer.alloc(one.addr.sockaddr.length) },
  })),
})

const takeLock = (choices: Choices) =>
  call(lock.lock, {
    ...locking(choices),
    description: choices.pick(['', 'text']),
    duration: choices.pick([zeroTime, zeroTime, { sec: 1000, nsec: 999_999_999 }]),
    flags: choices.pick([0, 0, 1, 2, 3]),
  })

const locks: ObjectKind = {
  name: 'lock',
  calls: [
    takeLock,
    takeLock,
    takeLock,
    (choices) => call(lock.unlock, { name: choices.pick(lockNames), cookie: choices.pick(cookies) }),
    (choices) => {
      const [name, cookie, who] = [choices.pick(lockNames), choices.pick(cookies), locker(choices)]
      return call(lock.breakLock, (side) => ({ name, cookie, locker: who(side) }))
    },
    (choices) => call(lock.getInfo, { name: choices.pick(lockNames) }, maskLock),
    () => call(lock.listLocks, noneOf),
    (choices) => call(lock.assertLocked, locking(choices)),
    (choices) => call(lock.setCookie, { ...locking(choices), newCookie: choices.pick(cookies) }),
  ],
  mask: (key, value, side) => [key, key.startsWith('lock.') ? masked(LockInfo, value, (info) => maskLock(info, side)) : value],
}

export const objectKinds: readonly ObjectKind[] = [
  header,
  directory,
  groupDirectory,
  imageId,
  tables,
  clonesV1,
  objectMap,
  data,
  mirroring,
  leader,
  group,
  journalHeader,
  journalData,
  locks,
]

/** Waits until locks of a nanosecond have expired by any clock. */
const untilExpired: Step = { type: 'prepare', run: () => new Promise((resolve) => setTimeout(resolve, 20)) }

/** Locks whose time is over, of all types. */
export function* expiringLocks(): Iterable<Step> {
  for (const type of ['exclusive', 'shared', 'exclusive-ephemeral'] as const) {
    const held = { name: type, type, cookie: 'c', tag: 't' }
    const take = (client: number, nsec: number) => exec(call(lock.lock, { ...held, description: '', duration: { sec: 0, nsec }, flags: 0 }), client)
    yield* [
      take(0, 1),
      untilExpired,
      exec(call(lock.getInfo, { name: type }, maskLock)),
      exec(call(lock.assertLocked, held)),
      exec(call(lock.unlock, { name: type, cookie: 'c' })),
      take(0, 1),
      untilExpired,
      take(1, 0),
      exec(call(lock.getInfo, { name: type }, maskLock)),
      exec(call(lock.setCookie, { ...held, newCookie: 'd' }), 1),
      exec(call(lock.unlock, { name: type, cookie: 'd' }), 1),
    ]
  }
}

export const lockMask = locks.mask
