import { snapshotAdd } from '../../cls/rbd/client.ts'
import type { SnapshotNamespace } from '../../cls/rbd/types.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { mirrorImageSnapshotSetCopyProgress } from '../../cls/rbd/mirror-client.ts'
import { findSnapshot, findSnapshotByName, type ImageHeader } from '../header.ts'
import type { Image } from '../image.ts'
import { captureImageState } from '../mirror/capture-image-state.ts'
import { writeImageState } from '../mirror/image-state.ts'
import { isPrimary } from '../mirror/mirror-snapshot.ts'
import { changeHeader, invoke, operationError, type OperationOptions } from './invoke.ts'

/** librbd/Types.h, SNAP_CREATE_FLAG_*: what the lock owner is told about clients that can quiesce */
const QUIESCE_FLAGS = { quiesce: 0n, skip: 1n << 1n, 'ignore-error': 1n << 2n } as const

const maxStaleIds = 10

export type Quiesce = keyof typeof QUIESCE_FLAGS
const defaultQuiesceAttempts = 10

/** What the flags of a peer's request ask for. */
export function quiesceOf(flags: bigint): Quiesce {
  if ((flags & QUIESCE_FLAGS.skip) !== 0n) return 'skip'
  return (flags & QUIESCE_FLAGS['ignore-error']) === 0n ? 'quiesce' : 'ignore-error'
}

export interface SnapshotToCreate {
  name: string
  namespace: SnapshotNamespace
  /** an id of the data pool that was allocated ahead; used if it is newer than all of the image's */
  snapId?: SnapId | undefined
  /** whether clients are asked to bring what they write into order before, e.g. file systems; `skip` without it, for there is nothing to quiesce in what a daemon makes */
  quiesce?: Quiesce | undefined
  /** Told the header as it is when nobody else can change it any more; throws what speaks against the snapshot. Another lock owner asks itself. */
  check?: ((header: ImageHeader) => void) | undefined
}

/** Makes a snapshot of the head, by the lock owner. Rejects with EEXIST for a name that is taken, EDQUOT at the snapshot limit. */
export function createSnapshot(image: Image, snapshot: SnapshotToCreate, options?: OperationOptions): Promise<void> {
  const { name, namespace, quiesce = 'skip' } = snapshot
  return invoke(
    image,
    {
      name: 'create snapshot',
      local: async () => void (await createSnapshotHere(image, snapshot)),
      request: { type: 'snapCreate', name, namespace, flags: QUIESCE_FLAGS[quiesce] },
    },
    options,
  )
}

/**
 * Makes a snapshot here and now: the lock must be ours, if the image has one, and no write may be under way.
 *
 *     clients quiesced → snapshot id → header (again with another id if it is stale) → head's object map copied and marked clean
 *       → a primary's: image state → complete → peers told
 *
 * Resolves with the snapshot's id.
 */
export async function createSnapshotHere(image: Image, snapshot: SnapshotToCreate): Promise<SnapId> {
  const unquiesce = await quiesceClients(image, snapshot.quiesce ?? 'skip')
  try {
    return await createQuiesced(image, snapshot)
  } finally {
    await unquiesce?.()
  }
}

async function quiesceClients(image: Image, quiesce: Quiesce): Promise<(() => Promise<void>) | undefined> {
  if (quiesce === 'skip') return undefined
  try {
    return await image.watcher?.quiesce(image.numericOption('rbd_quiesce_notification_attempts', defaultQuiesceAttempts))
  } catch (error) {
    if (quiesce !== 'ignore-error' || !(error instanceof RadosError)) throw error
    image.options.log.warn({ imageId: image.id, error: error.message }, 'clients not quiesced for a snapshot')
    return undefined
  }
}

async function createQuiesced(image: Image, { name, namespace, snapId, check }: SnapshotToCreate): Promise<SnapId> {
  let created: SnapId | undefined
  await changeHeader(image, async () => {
    check?.(await image.refresh())
    const before = findSnapshotByName(image.header, namespace.type, name)
    if (before) throw operationError(image, Errno.EEXIST, `create snapshot ${name}`)
    created = await addToHeader(image, name, namespace, snapId)
    await image.objectMap?.createSnapshot(created)
    if (namespace.type === 'mirror' && isPrimary(namespace)) await completePrimary(image, created)
  })
  return created!
}

/** A primary's mirror-snapshot may be followed once it has its image state. */
async function completePrimary(image: Image, snapId: SnapId): Promise<void> {
  await writeImageState(image.io, image.id, snapId, await captureImageState(image))
  await mirrorImageSnapshotSetCopyProgress.call(image.io, image.headerOid, { snapId, complete: true, lastCopiedObjectNumber: 0 })
}

async function addToHeader(image: Image, name: string, namespace: SnapshotNamespace, allocated: SnapId | undefined): Promise<SnapId> {
  const data = image.data()
  for (let tries = 1; ; tries++) {
    const stale = allocated !== undefined && allocated <= image.header.snapContext.seq
    const snapId = allocated === undefined || stale ? await data.createSelfManagedSnap() : allocated
    try {
      await snapshotAdd.call(image.io, image.headerOid, { name, snapId, namespace })
      return snapId
    } catch (error) {
      if (isErrno(error, Errno.ETIMEDOUT)) {
        // unknown outcome: the header tells
        const found = findSnapshot(await image.refresh(), snapId)
        if (found?.name === name) return snapId
      } else {
        await data.removeSelfManagedSnap(snapId)
      }
      if (!isErrno(error, Errno.ESTALE) || tries === maxStaleIds) throw error
      allocated = undefined
    }
  }
}
