import * as rbd from '../../../src/cls/rbd/client.ts'
import * as mirror from '../../../src/cls/rbd/mirror-client.ts'
import * as pool from '../../../src/cls/rbd/pool-client.ts'
import { StoredSnapshot, type ParentImageSpec, type SnapshotInfo, type SnapshotNamespace } from '../../../src/cls/rbd/types.ts'
import { NO_SNAP } from '../../../src/rados/io-ctx.ts'
import type { Choices } from '../class-comparison.ts'
import { type ObjectKind, noneOf, maskTime, maskUuid, call, masked, exec } from './shared.ts'

/* An image's header. */

const NO_LIMIT = 0xffffffffffffffffn
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

export const header: ObjectKind = {
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
