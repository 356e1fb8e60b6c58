import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as journal from '../../src/cls/journal/client.ts'
import { TAG_CLASS_NEW } from '../../src/cls/journal/types.ts'
import * as lock from '../../src/cls/lock/client.ts'
import * as rbd from '../../src/cls/rbd/client.ts'
import * as mirror from '../../src/cls/rbd/mirror-client.ts'
import type { MirrorSnapshotNamespace } from '../../src/cls/rbd/types.ts'
import * as poolMethods from '../../src/cls/rbd/pool-client.ts'
import { zeroTime } from '../../src/encoding/codec.ts'
import { ENTITY_TYPE_CLIENT, formatEntityName } from '../../src/encoding/entity.ts'
import { Errno } from '../../src/rados/errors.ts'
import { NO_SNAP, type IoCtx } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import type { Cluster } from '../../src/rados/cluster.ts'

/** A pool to work in, and the connection it was opened from. */
export interface ClassFixture {
  readonly io: IoCtx
  readonly cluster: Cluster
  close(): Promise<void>
}

const errno = (code: number) => expect.objectContaining({ errno: code }) as unknown

/** What the object classes' clients rely on, wherever the methods run. */
export function classContract(name: string, open: () => Promise<ClassFixture>): void {
  describe(name, () => {
    let fixture: ClassFixture
    let io: IoCtx
    let cluster: Cluster

    beforeAll(async () => {
      fixture = await open()
      io = fixture.io
      cluster = fixture.cluster
    })
    afterAll(() => fixture?.close())

    it('a header: created, read in one operation, changed', async () => {
      const oid = 'rbd_header.cls'
      await rbd.create.call(io, oid, { size: 2 ** 33, order: 22, features: 1n, objectPrefix: 'rbd_data.cls', dataPoolId: -1n })
      await expect(
        rbd.create.call(io, oid, { size: 1, order: 22, features: 1n, objectPrefix: 'rbd_data.cls', dataPoolId: -1n }),
      ).rejects.toEqual(errno(Errno.EEXIST))
      const operation = new ReadOperation()
      const size = rbd.getSize.step(operation, { snapId: NO_SNAP })
      const features = rbd.getFeatures.step(operation, { snapId: NO_SNAP, readOnly: false })
      const prefix = rbd.getObjectPrefix.step(operation, undefined)
      const parent = rbd.parentGet.step(operation, undefined)
      const overlap = rbd.parentOverlapGet.step(operation, { snapId: NO_SNAP })
      const group = poolMethods.imageGroupGet.step(operation, undefined)
      const results = await io.read(oid, operation)
      expect(rbd.getSize.result(results, size)).toEqual({ order: 22, size: 2 ** 33 })
      expect(rbd.getFeatures.result(results, features)).toEqual({ features: 1n, incompatible: 1n })
      expect(rbd.getObjectPrefix.result(results, prefix)).toBe('rbd_data.cls')
      expect(rbd.parentGet.result(results, parent)).toMatchObject({ poolId: -1n, imageId: '' })
      expect(rbd.parentOverlapGet.result(results, overlap)).toBeUndefined()
      expect(poolMethods.imageGroupGet.result(results, group)).toMatchObject({ groupId: '' })

      await rbd.setSize.call(io, oid, { size: 12_345 })
      expect((await rbd.getSize.call(io, oid, { snapId: NO_SNAP })).size).toBe(12_345)
      await rbd.setFlags.call(io, oid, { flags: 1n, mask: 1n, snapId: NO_SNAP })
      expect(await rbd.getFlags.call(io, oid, { snapId: NO_SNAP })).toBe(1n)
      expect(await rbd.snapshotGetLimit.call(io, oid, undefined)).toBe(0xffffffffffffffffn)
      await rbd.snapshotSetLimit.call(io, oid, { limit: 9n })
      expect(await rbd.snapshotGetLimit.call(io, oid, undefined)).toBe(9n)
      expect((await rbd.getCreateTimestamp.call(io, oid, undefined)).sec).toBeGreaterThan(1_600_000_000)
      await expect(rbd.migrationGet.call(io, oid, undefined)).rejects.toEqual(errno(Errno.EINVAL))
    })

    it('snapshots of all namespaces, and what mirroring does with them', async () => {
      const oid = 'rbd_header.snaps'
      await rbd.create.call(io, oid, { size: 1000, order: 22, features: 1n, objectPrefix: 'rbd_data.snaps', dataPoolId: -1n })
      const mirrorSnapshot: MirrorSnapshotNamespace = {
        type: 'mirror',
        state: 'non-primary',
        complete: false,
        mirrorPeerUuids: new Set(['peer-1', 'peer-2']),
        primaryMirrorUuid: 'primary',
        primarySnapId: 77n,
        lastCopiedObjectNumber: 0,
        snapSeqs: new Map([
          [3n, 4n],
          [77n, NO_SNAP],
        ]),
      }
      await rbd.snapshotAdd.call(io, oid, { snapId: 5n, name: 'user', namespace: { type: 'user' } })
      await rbd.snapshotAdd.call(io, oid, { snapId: 8n, name: 'mirror', namespace: mirrorSnapshot })
      await expect(rbd.snapshotAdd.call(io, oid, { snapId: 4n, name: 'late', namespace: { type: 'user' } })).rejects.toEqual(errno(Errno.ESTALE))
      expect(await rbd.getSnapcontext.call(io, oid, undefined)).toEqual({ seq: 8n, snaps: [8n, 5n] })
      expect(await rbd.snapshotGet.call(io, oid, { snapId: 5n })).toMatchObject({ id: 5n, name: 'user', imageSize: 1000, namespace: { type: 'user' } })
      expect((await rbd.snapshotGet.call(io, oid, { snapId: 8n })).namespace).toEqual(mirrorSnapshot)

      await mirror.mirrorImageSnapshotSetCopyProgress.call(io, oid, { snapId: 8n, complete: true, lastCopiedObjectNumber: 6 })
      await mirror.mirrorImageSnapshotUnlinkPeer.call(io, oid, { snapId: 8n, mirrorPeerUuid: 'peer-1' })
      expect((await rbd.snapshotGet.call(io, oid, { snapId: 8n })).namespace).toEqual({
        ...mirrorSnapshot,
        complete: true,
        lastCopiedObjectNumber: 6,
        mirrorPeerUuids: new Set(['peer-2']),
      })

      await rbd.snapshotRename.call(io, oid, { snapId: 5n, name: 'renamed' })
      expect(await rbd.getSnapshotName.call(io, oid, { snapId: 5n })).toBe('renamed')
      await rbd.setProtectionStatus.call(io, oid, { snapId: 5n, status: 'protected' })
      expect(await rbd.getProtectionStatus.call(io, oid, { snapId: 5n })).toBe('protected')
      await rbd.setProtectionStatus.call(io, oid, { snapId: 5n, status: 'unprotected' })
      await rbd.childAttach.call(io, oid, { snapId: 5n, child: { poolId: 3n, poolNamespace: 'ns', imageId: 'child' } })
      expect(await rbd.childrenList.call(io, oid, { snapId: 5n })).toEqual([{ poolId: 3n, poolNamespace: 'ns', imageId: 'child' }])
      await rbd.snapshotTrashAdd.call(io, oid, { snapId: 5n })
      expect((await rbd.snapshotGet.call(io, oid, { snapId: 5n })).namespace).toEqual({ type: 'trash', originalName: 'renamed', originalType: 'user' })
      await rbd.childDetach.call(io, oid, { snapId: 5n, child: { poolId: 3n, poolNamespace: 'ns', imageId: 'child' } })
      await rbd.snapshotRemove.call(io, oid, { snapId: 5n })
      expect((await rbd.getSnapcontext.call(io, oid, undefined)).snaps).toEqual([8n])
    })

    it('metadata', async () => {
      const oid = 'rbd_header.metadata'
      const metadata = new Map([
        ['a', Buffer.from('1')],
        ['b', Buffer.from('binary \x00\xff', 'latin1')],
      ])
      await rbd.metadataSet.call(io, oid, { metadata })
      expect(await rbd.metadataList.call(io, oid, { startAfter: '', max: 10 })).toEqual(metadata)
      expect(await rbd.metadataList.call(io, oid, { startAfter: 'a', max: 10 })).toEqual(new Map([['b', metadata.get('b')]]))
      expect(await rbd.metadataGet.call(io, oid, { key: 'a' })).toEqual(Buffer.from('1'))
      await rbd.metadataRemove.call(io, oid, { key: 'a' })
      await expect(rbd.metadataGet.call(io, oid, { key: 'a' })).rejects.toEqual(errno(Errno.ENOENT))
    })

    it('directory, ids, trash, namespaces, clones of the first format', async () => {
      await io.write('rbd_id.some', rbd.setId.step(new WriteOperation().create(true), { id: 'cafe' }))
      expect(await rbd.getId.call(io, 'rbd_id.some', undefined)).toBe('cafe')
      const directory = 'directory'
      await io.write(directory, rbd.dirStateSet.step(new WriteOperation().create(false), { state: 'ready' }))
      await io.write(directory, rbd.dirAddImage.step(rbd.dirStateAssert.step(new WriteOperation(), { state: 'ready' }), { name: 'one', id: '1' }))
      await rbd.dirRenameImage.call(io, directory, { from: 'one', to: 'two', id: '1' })
      expect(await rbd.dirList.call(io, directory, { startAfter: '', max: 10 })).toEqual(new Map([['two', '1']]))
      expect(await rbd.dirGetId.call(io, directory, { name: 'two' })).toBe('1')
      expect(await rbd.dirGetName.call(io, directory, { id: '1' })).toBe('two')
      await rbd.dirRemoveImage.call(io, directory, { name: 'two', id: '1' })
      await rbd.dirStateSet.call(io, directory, { state: 'add-disabled' })
      await expect(rbd.dirStateAssert.call(io, directory, { state: 'ready' })).rejects.toEqual(errno(Errno.ENOENT))

      const spec = { source: 'mirroring', name: 'gone', deletionTime: { sec: 1, nsec: 2 }, defermentEndTime: zeroTime, state: 'normal' } as const
      await poolMethods.trashAdd.call(io, 'trash', { imageId: '1', spec })
      expect(await poolMethods.trashList.call(io, 'trash', { startAfter: '', max: 10 })).toEqual(new Map([['1', spec]]))
      await poolMethods.trashStateSet.call(io, 'trash', { imageId: '1', state: 'removing', expect: 'normal' })
      expect(await poolMethods.trashGet.call(io, 'trash', { imageId: '1' })).toEqual({ ...spec, state: 'removing' })
      await poolMethods.trashRemove.call(io, 'trash', { imageId: '1' })

      await poolMethods.namespaceAdd.call(io, 'namespaces', { name: 'ns' })
      expect(await poolMethods.namespaceList.call(io, 'namespaces', { startAfter: '', max: 10 })).toEqual(['ns'])

      const parent = { poolId: 7n, imageId: 'p', snapId: 9n }
      await rbd.addChild.call(io, 'children', { parent, childId: 'c' })
      expect(await rbd.getChildren.call(io, 'children', parent)).toEqual(new Set(['c']))
      await rbd.removeChild.call(io, 'children', { parent, childId: 'c' })
      await expect(rbd.getChildren.call(io, 'children', parent)).rejects.toEqual(errno(Errno.ENOENT))
    })

    it('data objects', async () => {
      await rbd.copyup.call(io, 'data', { data: Buffer.from('first') })
      await rbd.copyup.call(io, 'data', { data: Buffer.from('second') })
      expect((await io.readData('data', 0, 100)).toString()).toBe('first')
      await rbd.sparseCopyup.call(io, 'sparse', {
        extents: new Map([
          [2, 3],
          [8, 1],
        ]),
        data: Buffer.from('abcd'),
      })
      expect((await io.readData('sparse', 0, 100)).toString()).toBe('\0\0abc\0\0\0d')
    })

    it('locks', async () => {
      const args = { name: 'rbd_lock', type: 'exclusive', cookie: 'auto 1', tag: 'internal', description: 'd', duration: zeroTime, flags: 0 } as const
      await lock.lock.call(io, 'lock', args)
      await expect(lock.lock.call(io, 'lock', args)).rejects.toEqual(errno(Errno.EEXIST))
      await expect(lock.lock.call(io, 'lock', { ...args, cookie: 'auto 2' })).rejects.toEqual(errno(Errno.EBUSY))
      const info = await lock.getInfo.call(io, 'lock', { name: 'rbd_lock' })
      expect(info).toMatchObject({ type: 'exclusive', tag: 'internal', lockers: [{ cookie: 'auto 1', description: 'd' }] })
      const [locker] = info.lockers
      expect(locker!.locker).toEqual({ type: ENTITY_TYPE_CLIENT, num: cluster.instanceId })
      expect(formatEntityName(locker!.locker)).toBe(`client.${cluster.instanceId}`)
      await lock.assertLocked.call(io, 'lock', { name: 'rbd_lock', type: 'exclusive', cookie: 'auto 1', tag: 'internal' })
      await lock.setCookie.call(io, 'lock', { name: 'rbd_lock', type: 'exclusive', cookie: 'auto 1', tag: 'internal', newCookie: 'auto 3' })
      await expect(lock.assertLocked.call(io, 'lock', { name: 'rbd_lock', type: 'exclusive', cookie: 'auto 1', tag: 'internal' })).rejects.toEqual(
        errno(Errno.EBUSY),
      )
      expect(await lock.listLocks.call(io, 'lock', undefined)).toEqual({ locks: ['rbd_lock'] })
      await lock.breakLock.call(io, 'lock', { name: 'rbd_lock', locker: locker!.locker, cookie: 'auto 3' })
      await lock.lock.call(io, 'lock', args)
      await lock.unlock.call(io, 'lock', { name: 'rbd_lock', cookie: 'auto 1' })
      expect((await lock.getInfo.call(io, 'lock', { name: 'rbd_lock' })).lockers).toEqual([])
    })

    it('mirroring: mode, peers, images, status, instances', async () => {
      const oid = 'rbd_mirroring'
      await expect(mirror.mirrorModeGet.call(io, oid, undefined)).rejects.toEqual(errno(Errno.ENOENT))
      await mirror.mirrorUuidSet.call(io, oid, { uuid: 'site-uuid' })
      await mirror.mirrorModeSet.call(io, oid, { mode: 'image' })
      expect(await mirror.mirrorModeGet.call(io, oid, undefined)).toBe('image')
      expect(await mirror.mirrorUuidGet.call(io, oid, undefined)).toBe('site-uuid')

      const peer = { uuid: 'peer', siteName: 'b', clientName: 'client.b', direction: 'rx-tx', mirrorUuid: '', lastSeen: zeroTime } as const
      await mirror.mirrorPeerAdd.call(io, oid, peer)
      await mirror.mirrorPeerSetCluster.call(io, oid, { uuid: 'peer', siteName: 'c' })
      await mirror.mirrorPeerSetClient.call(io, oid, { uuid: 'peer', clientName: 'client.c' })
      await mirror.mirrorPeerSetDirection.call(io, oid, { uuid: 'peer', direction: 'rx' })
      await mirror.mirrorPeerPing.call(io, oid, { siteName: 'pinger', mirrorUuid: 'pinger-uuid' })
      const peers = await mirror.mirrorPeerList.call(io, oid, undefined)
      expect(peers.find(({ uuid }) => uuid === 'peer')).toEqual({ ...peer, siteName: 'c', clientName: 'client.c', direction: 'rx' })
      expect(peers.find(({ siteName }) => siteName === 'pinger')).toMatchObject({ direction: 'tx', mirrorUuid: 'pinger-uuid', clientName: '' })

      const image = { globalImageId: 'global', state: 'enabled', mode: 'snapshot' } as const
      await mirror.mirrorImageSet.call(io, oid, { imageId: 'id', image })
      expect(await mirror.mirrorImageGet.call(io, oid, { imageId: 'id' })).toEqual(image)
      expect(await mirror.mirrorImageGetImageId.call(io, oid, { globalImageId: 'global' })).toBe('id')
      expect(await mirror.mirrorImageList.call(io, oid, { startAfter: '', max: 10 })).toEqual(new Map([['id', 'global']]))

      const status = { state: 'replaying', description: 'text', lastUpdate: zeroTime, up: true } as const
      await using watch = { watch: await io.watch(oid, { onNotify: (n) => n.ack(), onError() {} }), [Symbol.asyncDispose]: () => watch.watch.close() }
      await mirror.mirrorImageStatusSet.call(io, oid, { globalImageId: 'global', status: { ...status, mirrorUuid: '' } })
      await mirror.mirrorImageStatusSet.call(io, oid, { globalImageId: 'global', status: { ...status, mirrorUuid: 'pinger-uuid' } })
      const stored = await mirror.mirrorImageStatusGet.call(io, oid, { globalImageId: 'global' })
      expect(stored.local).toMatchObject({ state: 'replaying', description: 'text', up: true })
      expect(stored.remotes).toMatchObject([{ mirrorUuid: 'pinger-uuid', state: 'replaying', up: true }])
      const listed = await mirror.mirrorImageStatusList.call(io, oid, { startAfter: '', max: 10 })
      expect(listed.images).toEqual(new Map([['id', image]]))
      expect(listed.statuses.get('id')?.local?.state).toBe('replaying')
      expect(await mirror.mirrorImageStatusGetSummary.call(io, oid, { peers })).toEqual(new Map([['replaying', 1]]))
      expect((await mirror.mirrorImageInstanceGet.call(io, oid, { globalImageId: 'global' })).name.num).toBe(cluster.instanceId)
      expect((await mirror.mirrorImageInstanceList.call(io, oid, { startAfter: '', max: 10 })).get('id')?.name.num).toBe(cluster.instanceId)
      await mirror.mirrorImageStatusRemoveDown.call(io, oid, undefined)
      await mirror.mirrorImageStatusRemove.call(io, oid, { globalImageId: 'global' })
      await mirror.mirrorImageSet.call(io, oid, { imageId: 'id', image: { ...image, state: 'disabling' } })
      await mirror.mirrorImageRemove.call(io, oid, { imageId: 'id' })
      for (const { uuid } of peers) await mirror.mirrorPeerRemove.call(io, oid, { uuid })
      await mirror.mirrorModeSet.call(io, oid, { mode: 'disabled' })

      const leader = 'rbd_mirror_leader'
      await io.write(leader, mirror.mirrorInstancesAdd.step(new WriteOperation().create(false), { instanceId: '4123' }))
      expect(await mirror.mirrorInstancesList.call(io, leader, undefined)).toEqual(['4123'])
      await mirror.mirrorInstancesRemove.call(io, leader, { instanceId: '4123' })
      const map = { instanceId: '4123', mappedTime: { sec: 1, nsec: 2 }, data: Buffer.from('policy') }
      await mirror.mirrorImageMapUpdate.call(io, leader, { globalImageId: 'global', map })
      expect(await mirror.mirrorImageMapList.call(io, leader, { startAfter: '', max: 10 })).toEqual(new Map([['global', map]]))
      await mirror.mirrorImageMapRemove.call(io, leader, { globalImageId: 'global' })
    })

    it('groups', async () => {
      await poolMethods.groupDirAdd.call(io, 'groups', { name: 'g', id: '1' })
      expect(await poolMethods.groupDirList.call(io, 'groups', { startAfter: '', max: 10 })).toEqual(new Map([['g', '1']]))
      const status = { spec: { imageId: 'i', poolId: 4n }, state: 'attached' } as const
      await poolMethods.groupImageSet.call(io, 'group', status)
      const start = { imageId: '', poolId: -1n }
      expect(await poolMethods.groupImageList.call(io, 'group', { startAfter: start, max: 10 })).toEqual([status])
      await poolMethods.groupImageRemove.call(io, 'group', status.spec)
      expect(await poolMethods.groupImageList.call(io, 'group', { startAfter: start, max: 10 })).toEqual([])
    })

    it('journals', async () => {
      const oid = 'journal.cls'
      await journal.create.call(io, oid, { order: 12, splayWidth: 2, poolId: -1n })
      expect(await journal.getOrder.call(io, oid, undefined)).toBe(12)
      expect(await journal.getSplayWidth.call(io, oid, undefined)).toBe(2)
      expect(await journal.getPoolId.call(io, oid, undefined)).toBe(-1n)
      await journal.clientRegister.call(io, oid, { id: 'c', data: Buffer.from('data') })
      await expect(journal.clientRegister.call(io, oid, { id: 'c', data: Buffer.from('data') })).rejects.toEqual(errno(Errno.EEXIST))
      await journal.clientUpdateData.call(io, oid, { id: 'c', data: Buffer.from('other') })
      const commitPosition = { objectPositions: [{ objectNumber: 1, tagTid: 0n, entryTid: 7n }] }
      await journal.clientCommit.call(io, oid, { id: 'c', commitPosition })
      await journal.clientUpdateState.call(io, oid, { id: 'c', state: 'disconnected' })
      const expected = { id: 'c', data: Buffer.from('other'), commitPosition, state: 'disconnected' }
      expect(await journal.getClient.call(io, oid, { id: 'c' })).toEqual(expected)
      expect(await journal.clientList.call(io, oid, { startAfter: '', max: 10 })).toEqual([expected])

      expect(await journal.getNextTagTid.call(io, oid, undefined)).toBe(0n)
      await journal.tagCreate.call(io, oid, { tid: 0n, tagClass: TAG_CLASS_NEW, data: Buffer.from('t0') })
      await journal.tagCreate.call(io, oid, { tid: 1n, tagClass: 0n, data: Buffer.from('t1') })
      await expect(journal.tagCreate.call(io, oid, { tid: 5n, tagClass: 0n, data: Buffer.alloc(0) })).rejects.toEqual(errno(Errno.ESTALE))
      expect(await journal.getTag.call(io, oid, { tid: 1n })).toEqual({ tid: 1n, tagClass: 0n, data: Buffer.from('t1') })
      const tags = await journal.tagList.call(io, oid, { startAfter: 0n, max: 10, clientId: 'c', tagClass: 0n })
      expect(tags.map(({ tid }) => tid)).toEqual([0n, 1n])

      await journal.setActiveSet.call(io, oid, { objectSet: 3 })
      await journal.setMinimumSet.call(io, oid, { objectSet: 2 })
      await expect(journal.setMinimumSet.call(io, oid, { objectSet: 1 })).rejects.toEqual(errno(Errno.ESTALE))
      expect([await journal.getMinimumSet.call(io, oid, undefined), await journal.getActiveSet.call(io, oid, undefined)]).toEqual([2, 3])

      await journal.append.call(io, 'journal_data', { softMaxSize: 10, data: Buffer.from('more than ten bytes') })
      await expect(journal.append.call(io, 'journal_data', { softMaxSize: 10, data: Buffer.from('x') })).rejects.toEqual(errno(Errno.EOVERFLOW))
      await expect(journal.guardAppend.call(io, 'journal_data', { softMaxSize: 10 })).rejects.toEqual(errno(Errno.EOVERFLOW))
      await journal.clientUnregister.call(io, oid, { id: 'c' })
      await expect(journal.getClient.call(io, oid, { id: 'c' })).rejects.toEqual(errno(Errno.ENOENT))
    })
  })
}
