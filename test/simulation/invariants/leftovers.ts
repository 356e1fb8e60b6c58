import { Errno, isErrno } from '../../../src/rados/errors.ts'
import { SNAP_DIR } from '../../../src/rados/io-ctx.ts'
import { findLocker } from '../../../src/rbd/managed-lock.ts'
import { listMirrorImages, findMirrorImage } from '../../../src/rbd/mirror/image-entry.ts'
import { isNonPrimary, isPrimary, mirrorSnapshots } from '../../../src/rbd/mirror/mirror-snapshot.ts'
import { listImages } from '../../../src/rbd/directory.ts'
import { headerName } from '../../../src/rbd/names.ts'
import { listTrash } from '../../../src/rbd/trash.ts'
import type { Site } from '../world/site.ts'
import type { World } from '../world/world.ts'

/** Objects that belong to an image carry its id. */
const OF_IMAGE = /^(?:rbd_header|rbd_data|rbd_object_map|journal|journal_data|rbd_mirror_snapshot)\.(?:(?<=journal_data\.)\d+\.)?([0-9a-f]+)/
/** Of a replica, when nothing is going on: the last synced one, and what ownership changes have left. Of a primary, what still waits for its peer. */
const MAX_MIRROR_SNAPSHOTS = 3
/** Those that the peer has let go stay until the next one is made, as with the C++ daemon. */
const MAX_LET_GO = 2
/** Where the image is not primary any more no next one is made: those of rbd_mirroring_max_mirroring_snapshots, and the newest. */
const MAX_FORMER = 6

/**
 * When everything has come to rest: nothing is there that nobody needs. Returns what is.
 */
export async function leftovers(world: World): Promise<string[]> {
  const found: string[] = []
  for (const site of [world.sites.a, world.sites.b]) found.push(...(await ofSite(site, world.lateWrites)).map((what) => `${site.name}: ${what}`))
  return found
}

async function ofSite(site: Site, lateWrites: boolean): Promise<string[]> {
  const { io } = site
  const found: string[] = []
  const images = new Map([...(await listImages(io))].map(([name, id]) => [id, name]))
  const trash = await orEmpty(listTrash(io))
  for (const id of trash.keys()) found.push(`image ${id} in the trash`)
  const mirrored = new Set(await listMirrorImages(io))
  for (const id of mirrored) {
    if (!images.has(id)) found.push(`mirroring entry of image ${id}, which is not there`)
    else if ((await findMirrorImage(io, id))?.state !== 'enabled') found.push(`mirroring entry of ${images.get(id)} is not enabled`)
  }
  const objects: string[] = []
  for await (const oid of io.listObjects()) objects.push(oid)
  for (const oid of objects.sort()) {
    const id = OF_IMAGE.exec(oid)?.[1]
    // a write that was given up long ago may make an object after all
    const mayBeLate = lateWrites && /^rbd_object_map\.[0-9a-f]+\./.test(oid)
    if (id !== undefined && !images.has(id) && !mayBeLate) found.push(`object ${oid} of an image that is not there`)
    // an image that is promoted in the middle of a rename that is done late keeps the name that it was to have
    if (oid.startsWith('rbd_id.') && !lateWrites && ![...images.values()].includes(oid.slice('rbd_id.'.length))) found.push(`object ${oid} of a name that is not there`)
  }
  for (const [id, name] of images) found.push(...(await ofImage(site, id, name, objects)))
  for (const oid of objects) found.push(...(await deadWatches(site, oid)))
  return found
}

async function ofImage(site: Site, id: string, name: string, objects: readonly string[]): Promise<string[]> {
  const found: string[] = []
  const { io } = site
  await site.look(id, async (image) => {
    const { snapshots } = image.header
    const known = new Set(snapshots.map((snapshot) => snapshot.id))
    for (const snapshot of snapshots) if (snapshot.namespace.type === 'trash') found.push(`${name}: snapshot ${snapshot.id} in the trash`)
    for (const oid of objects) {
      if (oid.startsWith(`rbd_data.${id}.`)) {
        const view = io.duplicate({ readSnap: SNAP_DIR })
        const { clones } = await view.listSnaps(oid)
        for (const clone of clones) for (const snap of clone.snaps) if (!known.has(snap)) found.push(`${name}: ${oid} has a clone for snapshot ${snap}, which is not there`)
        view.close()
      }
      const ofSnapshot = new RegExp(`^rbd_object_map\\.${id}\\.([0-9a-f]{16})$`).exec(oid)?.[1]
      if (ofSnapshot !== undefined && !known.has(BigInt(`0x${ofSnapshot}`))) found.push(`${name}: ${oid} of a snapshot that is not there`)
      const state = new RegExp(`^rbd_mirror_snapshot\\.${id}\\.(\\d+)\\.`).exec(oid)?.[1]
      if (state !== undefined && !known.has(BigInt(state))) found.push(`${name}: ${oid} of a snapshot that is not there`)
    }
    const mirror = mirrorSnapshots(snapshots)
    const primary = mirror.filter(({ namespace }) => isPrimary(namespace))
    const waiting = primary.filter(({ namespace }) => namespace.mirrorPeerUuids.size > 0)
    const replica = mirror.filter(({ namespace }) => isNonPrimary(namespace))
    for (const { id: snap, namespace } of mirror) if (!namespace.complete) found.push(`${name}: mirror-snapshot ${snap} is incomplete`)
    if (waiting.length > MAX_MIRROR_SNAPSHOTS) found.push(`${name}: ${waiting.length} primary mirror-snapshots wait for the peer`)
    if (primary.length - waiting.length > (replica.length > 0 ? MAX_FORMER : MAX_LET_GO)) found.push(`${name}: ${primary.length} primary mirror-snapshots`)
    if (replica.length > MAX_MIRROR_SNAPSHOTS) found.push(`${name}: ${replica.length} non-primary mirror-snapshots`)
  })
  const locker = await findLocker(io, headerName(id))
  if (typeof locker === 'object' && !site.clients.get(locker.address)?.process.alive) found.push(`${name}: lock of a client that has died`)
  return found
}

/** Watches of programs that have ended. */
async function deadWatches(site: Site, oid: string): Promise<string[]> {
  const watchers = await site.io.listWatchers(oid).catch(() => [])
  const counts = new Map<string, number>()
  const found: string[] = []
  for (const { address, clientId, cookie } of watchers) {
    if (!site.clients.get(address)?.process.alive) found.push(`watch ${clientId}/${cookie} of ${oid} by a program that has ended`)
    counts.set(address, (counts.get(address) ?? 0) + 1)
  }
  for (const [address, count] of counts) if (count > 3) found.push(`${count} watches of ${oid} by ${site.clients.get(address)?.process.name}`)
  return found
}

async function orEmpty<K, V>(question: Promise<Map<K, V>>): Promise<Map<K, V>> {
  try {
    return await question
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return new Map()
    throw error
  }
}
