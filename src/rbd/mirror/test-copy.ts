import { createHash } from 'node:crypto'
import { delay } from '../../base/clock.ts'
import { metadataGet, metadataSet, snapshotGet } from '../../cls/rbd/client.ts'
import { mirrorImageGet } from '../../cls/rbd/mirror-client.ts'
import { utimeToMs } from '../../encoding/codec.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { createImage } from '../create-image.ts'
import { findImageId, listImages } from '../directory.ts'
import { FEATURE_DEEP_FLATTEN, FEATURE_EXCLUSIVE_LOCK, FEATURE_FAST_DIFF, FEATURE_LAYERING, FEATURE_OBJECT_MAP } from '../features.ts'
import { findSnapshotByName, type ImageSnapshot } from '../header.ts'
import type { Image, ImageOptions } from '../image.ts'
import { headerName, MAX_IMAGE_ID_LENGTH, RBD_MIRRORING } from '../names.ts'
import { createSnapshot } from '../operations/snapshot-create.ts'
import { removeSnapshot } from '../operations/snapshot-remove.ts'
import { removeImage } from '../remove-image.ts'
import { mirrorSnapshots, readsAsSynced } from './mirror-snapshot.ts'

/*
 * Copies of a replica to try a failover with: clones of format v2, which any client may write to. The snapshot that a copy reads from is pruned into
 * the snapshot trash when its time has come, and goes from there with the copy.
 */

/** In a copy's metadata: whose it is. A copy without it is not finished. */
const MARK = 'rbd-mirror.test-failover'
/** How long a replica of journal mode may take to come to a snapshot of its primary. */
const REPLAY_WAIT_MS = 60_000
const POLL_MS = 100
/** A snapshot may be pruned while it is cloned; then the next newer one is. */
const MAX_TRIES = 5
const LISTED_AT_ONCE = 16

export interface TestCopy {
  /** the copy's */
  name: string
  id: string
  /** the replica's */
  imageId: string
  globalImageId: string
  snapshotId: string
  /** of the snapshot, ISO 8601 */
  stateOf: string
}

type Mark = Omit<TestCopy, 'name' | 'id'>

/** There is no state of the replica yet that could be tried, or the image is no replica; the message says what to do. */
export class NoTestCopy extends Error {
  override readonly name = 'NoTestCopy'
}

export interface TestCopyOptions extends Omit<ImageOptions, 'access' | 'lockPolicy'> {
  signal: AbortSignal
}

/**
 * Makes a copy of a replica at its last complete state; one of that name that is there already is given back as it is, and one that was not
 * finished is made anew.
 *
 *     what an earlier try has left goes → snapshot to copy → clone → snapshot still there? → mark
 *
 * @param openPrimary of a replica in journal mode, which has no snapshots of its own: opened for writing, it is asked for one that the replica makes too
 *   when it comes to it in the journal
 */
export async function createTestCopy(
  replica: Image,
  name: string,
  openPrimary: () => Promise<{ image: Image; localMirrorUuid: string }>,
  options: TestCopyOptions,
): Promise<{ copy: TestCopy; created: boolean }> {
  const { io } = replica
  const { globalImageId, mode } = await mirrorImageGet.call(io, RBD_MIRRORING, { imageId: replica.id })
  const id = copyId(replica.id, name)
  const there = await findImageId(io, name)
  if (there !== undefined && there !== id) throw new NoTestCopy(`there is another image ${name} already; give the copy another name: --name NAME`)
  const known = there === undefined ? undefined : await readMark(io, there)
  if (known) return { copy: { name, id, ...known }, created: false }
  if (there !== undefined) await removeImage(io, id, { ...options, snapshots: 'all' })
  const make = async (snapshot: ImageSnapshot): Promise<TestCopy | undefined> => {
    if (!(await cloneOf(replica, snapshot, name, id))) {
      await removeImage(io, id, { ...options, snapshots: 'all' })
      return undefined
    }
    const mark: Mark = {
      imageId: replica.id,
      globalImageId,
      snapshotId: String(snapshot.id),
      stateOf: new Date(utimeToMs(snapshot.timestamp)).toISOString(),
    }
    await metadataSet.call(io, headerName(id), { metadata: new Map([[MARK, Buffer.from(JSON.stringify(mark))]]) })
    return { name, id, ...mark }
  }
  if (mode === 'journal') {
    const { image: primary, localMirrorUuid } = await openPrimary()
    const copy = await atSnapshotOfPrimary(replica, primary, `.rbd-mirror.${localMirrorUuid}.test-failover.`, options, make)
    if (!copy) throw new NoTestCopy(`the snapshot that was made on the primary has gone before it was copied; try again`)
    return { copy, created: true }
  }
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const copy = await make(lastComplete(await replica.refresh()))
    if (copy) return { copy, created: true }
  }
  throw new NoTestCopy('mirror-snapshots are pruned faster than they can be copied; try again')
}

/** The copies of one image, or of all images in a pool's namespace. */
export async function listTestCopies(io: IoCtx, of?: { imageId: string }): Promise<TestCopy[]> {
  const copies: TestCopy[] = []
  const waiting = [...(await listImages(io))]
  const look = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const [name, id] = next
      const mark = await readMark(io, id)
      if (mark && (!of || mark.imageId === of.imageId)) copies.push({ name, id, ...mark })
    }
  }
  await Promise.all(Array.from({ length: LISTED_AT_ONCE }, look))
  return copies.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Removes a copy with all that was written to it, and the snapshot that it was made of if nothing else needs it. EBUSY while it is in use. */
export async function removeTestCopy(io: IoCtx, { id }: Pick<TestCopy, 'id'>, options: TestCopyOptions): Promise<void> {
  await removeImage(io, id, { ...options, snapshots: 'all' })
}

/** Also of a copy that was begun and not finished. */
export async function findUnfinishedCopy(io: IoCtx, imageId: string, name: string): Promise<string | undefined> {
  const id = await findImageId(io, name)
  return id === copyId(imageId, name) && !(await readMark(io, id)) ? id : undefined
}

/** What names a copy that is not marked yet as ours. */
function copyId(imageId: string, name: string): string {
  return createHash('sha256').update(`${imageId}/${name}`).digest('hex').slice(0, MAX_IMAGE_ID_LENGTH)
}

function lastComplete({ snapshots }: Pick<Image['header'], 'snapshots'>): ImageSnapshot {
  const all = mirrorSnapshots(snapshots)
  const newest = all.at(-1)?.namespace
  if (newest?.state.startsWith('primary')) throw new NoTestCopy('the image is primary here, or was demoted here: there is nothing to try that is not in it')
  const complete = all.findLast(({ namespace }) => namespace.complete)
  if (!complete) throw new NoTestCopy('no mirror-snapshot has been synced completely yet')
  const usable = all.findLast(({ namespace }) => readsAsSynced(namespace))
  if (usable) return usable
  throw new NoTestCopy('the last sync was by another daemon, whose mirror-snapshots read as before their sync; it can be done after the next: rbd mirror image snapshot, on the primary')
}

/** False: the snapshot was being removed. */
async function cloneOf(replica: Image, snapshot: ImageSnapshot, name: string, id: string): Promise<boolean> {
  const { io, header } = replica
  try {
    await createImage(io, {
      id,
      name,
      size: snapshot.size,
      order: header.order,
      features: FEATURE_LAYERING | FEATURE_EXCLUSIVE_LOCK | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF | FEATURE_DEEP_FLATTEN,
      ...(header.stripeCount > 1 && { stripeUnit: header.stripeUnit, stripeCount: header.stripeCount }),
      dataPoolId: header.dataPoolId,
      parent: { poolId: io.poolId, poolNamespace: io.namespace, imageId: replica.id, snapId: snapshot.id, overlap: snapshot.size, cloneFormat: 2, io },
    })
    // whoever removes it from now on sees the copy, and leaves it in the trash
    return (await snapshotGet.call(io, headerName(replica.id), { snapId: snapshot.id })).namespace.type !== 'trash'
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

async function atSnapshotOfPrimary<T>(
  replica: Image,
  primary: Image,
  prefix: string,
  { clock, random, signal }: TestCopyOptions,
  task: (snapshot: ImageSnapshot) => Promise<T>,
): Promise<T> {
  const clear = async () => {
    for (const { id, namespace, name } of (await primary.refresh()).snapshots) {
      if (namespace.type === 'user' && name.startsWith(prefix)) await removeSnapshot(primary, id, { signal })
    }
  }
  await clear() // of a try that was cut short
  const name = prefix + random.uuid()
  await createSnapshot(primary, { name, namespace: { type: 'user' } }, { signal })
  try {
    for (const until = clock.monotonic() + REPLAY_WAIT_MS; ; ) {
      const here = findSnapshotByName(await replica.refresh(), 'user', name)
      if (here) return await task(here)
      if (clock.monotonic() > until) throw new NoTestCopy(`the replica has not come to where the primary is within ${REPLAY_WAIT_MS / 1000} s: is it replaying?`)
      await delay(clock, POLL_MS, signal)
    }
  } finally {
    await clear()
  }
}

async function readMark(io: IoCtx, id: string): Promise<Mark | undefined> {
  try {
    return JSON.parse((await metadataGet.call(io, headerName(id), { key: MARK })).toString()) as Mark
  } catch (error) {
    if (isErrno(error, Errno.ENOENT) || error instanceof SyntaxError) return undefined
    throw error
  }
}
