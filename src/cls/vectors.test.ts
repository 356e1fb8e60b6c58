import { describe, expect, test } from 'vitest'
import { decode, encode, type Codec } from '../encoding/codec.ts'
import { acceptedPrefixes, roundTrip, vectors } from '../../test/support/vectors.ts'
import * as journal from './journal/types.ts'
import * as lock from './lock/operations.ts'
import { LockInfo } from './lock/types.ts'
import * as mirror from './rbd/mirror-types.ts'
import * as rbd from './rbd/types.ts'

const codecs: Record<string, Codec<never>> = {
  'cls::journal::Client': journal.Client,
  'cls::journal::ObjectPosition': journal.ObjectPosition,
  'cls::journal::ObjectSetPosition': journal.ObjectSetPosition,
  'cls::journal::Tag': journal.Tag,
  'cls::rbd::ChildImageSpec': rbd.ChildImageSpec,
  'cls::rbd::GroupImageSpec': rbd.GroupImageSpec,
  'cls::rbd::GroupImageStatus': rbd.GroupImageStatus,
  'cls::rbd::GroupSnapshot': rbd.GroupSnapshot,
  'cls::rbd::GroupSpec': rbd.GroupSpec,
  'cls::rbd::ImageSnapshotSpec': rbd.ImageSnapshotSpec,
  'cls::rbd::MigrationSpec': rbd.MigrationSpec,
  'cls::rbd::MirrorImage': mirror.MirrorImage,
  'cls::rbd::MirrorImageMap': mirror.MirrorImageMap,
  'cls::rbd::MirrorImageSiteStatus': mirror.MirrorImageSiteStatus,
  'cls::rbd::MirrorImageSiteStatusOnDisk': mirror.MirrorImageSiteStatusOnDisk,
  'cls::rbd::MirrorImageStatus': mirror.MirrorImageStatus,
  'cls::rbd::MirrorPeer': mirror.MirrorPeer,
  'cls::rbd::ParentImageSpec': rbd.ParentImageSpec,
  'cls::rbd::SnapshotInfo': rbd.SnapshotInfo,
  'cls::rbd::SnapshotNamespace': rbd.SnapshotNamespace,
  cls_lock_assert_op: lock.assertOp,
  cls_lock_break_op: lock.breakOp,
  cls_lock_get_info_op: lock.getInfoOp,
  cls_lock_get_info_reply: LockInfo,
  cls_lock_list_locks_reply: lock.listLocksReply,
  cls_lock_lock_op: lock.lockOp,
  cls_lock_set_cookie_op: lock.setCookieOp,
  cls_lock_unlock_op: lock.unlockOp,
  cls_rbd_parent: rbd.StoredParent,
  cls_rbd_snap: rbd.StoredSnapshot,
  'rados::cls::lock::lock_info_t': LockInfo,
} as unknown as Record<string, Codec<never>>

describe.each(Object.entries(codecs))('%s', (type, codec) => {
  test.each(vectors(type))('$name', ({ bytes }) => {
    expect(roundTrip(codec, bytes)).toBe(bytes.toString('hex'))
    expect(acceptedPrefixes(codec, bytes)).toEqual([])
    const newer = Buffer.concat([bytes, Buffer.from('tail')])
    expect(roundTrip(codec, newer)).toBe(bytes.toString('hex'))
  })
})

test('a field appended by a newer release is skipped', () => {
  const bytes = encode(mirror.MirrorImage, { globalImageId: 'g', state: 'enabled', mode: 'snapshot' })
  const newer = Buffer.concat([bytes, Buffer.from('new field')])
  newer.writeUInt8(3, 0)
  newer.writeUInt32LE(newer.length - 6, 2)
  expect(decode(mirror.MirrorImage, newer, 'newer')).toEqual({ globalImageId: 'g', state: 'enabled', mode: 'snapshot' })
})

test('a struct that needs a newer reader is refused', () => {
  const bytes = encode(mirror.MirrorImage, { globalImageId: 'g', state: 'enabled', mode: 'snapshot' })
  bytes.writeUInt8(9, 0)
  bytes.writeUInt8(9, 1)
  expect(() => decode(mirror.MirrorImage, bytes, 'newer')).toThrow('needs a reader of version 9')
})

test('an unknown snapshot namespace is kept as it came', () => {
  const bytes = Buffer.from('0101' + '0a000000' + '63000000' + '010203040506', 'hex')
  const value = decode(rbd.SnapshotNamespace, bytes, 'namespace')
  expect(value).toMatchObject({ type: 'unknown', tag: 0x63 })
  expect(encode(rbd.SnapshotNamespace, value)).toEqual(bytes)
})
