import { clientList } from '../../cls/journal/client.ts'
import { JOURNAL_MAX_RETURN } from '../../cls/journal/types.ts'
import { mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import { decode } from '../../encoding/codec.ts'
import { unregisterClient } from '../../journal/clients.ts'
import { JournalMetadata } from '../../journal/metadata.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno, ifThere, isErrno } from '../../rados/errors.ts'
import { FEATURE_JOURNALING, hasFeature } from '../features.ts'
import { findSnapshotByName } from '../header.ts'
import type { Image } from '../image.ts'
import { ClientData } from '../journal/client-data.ts'
import { journalHeaderName } from '../../journal/names.ts'
import { RBD_MIRRORING } from '../names.ts'
import { childrenOf, oldChildrenOf } from '../operations/children.ts'
import { updateFeatures } from '../operations/features.ts'
import { removeMetadata } from '../operations/metadata.ts'
import { removeSnapshot } from '../operations/snapshot-remove.ts'
import { findMirrorImage, removeMirrorImage, setMirrorImage } from './image-entry.ts'
import { imageMetaKey } from './image-meta.ts'
import { primaryJournalSwitch } from './journal-switch.ts'
import { loadMirrorInfo } from './mirror-info.ts'
import { mirrorSnapshots } from './mirror-snapshot.ts'
import { getMirrorMode } from './get-mirror-mode.ts'
import { promoteJournal, promoteSnapshotImage } from './promote-image.ts'
import { explained, Refusal } from './refusal.ts'
import { removeTrashedMirrorSnapshots } from './trashed-snapshots.ts'

const api = 'librbd::api::Mirror: image_disable: '
const request = 'librbd::mirror::DisableRequest: '

/**
 * Takes an image of a pool in image mode out of mirroring (librbd/api/Mirror.cc, image_disable):
 *
 *     entry `disabling` → not primary? it is promoted (force) → mirror-snapshots, or the peers' journal clients, go → entry goes
 *       → journaling off
 *
 * Only a primary may be, without `force`. An image that is not mirrored is no error. What fails leaves it mirrored. Rejects with Refusal.
 */
export async function disableImage(image: Image, force: boolean, signal?: AbortSignal): Promise<void> {
  const { io, id, options } = image
  const refuse = (errno: number, why: string) => new Refusal(errno, [`${api}${why}`], image)
  await image.refreshIfNeeded()
  if ((await getMirrorMode(io)) !== 'image') throw refuse(Errno.EINVAL, 'cannot disable mirroring in the current pool mirroring mode')
  const entry = await findMirrorImage(io, id)
  if (!entry) return finishDisabling(image, signal)
  const disabling: MirrorImage = { ...entry, state: 'disabling' }
  await explained((errno) => `${api}cannot disable mirroring: ${errnoText(errno)}`, () => setMirrorImage(io, id, disabling, options.log))
  try {
    if (await hasMirroredChild(image)) throw refuse(Errno.EBUSY, 'mirroring is enabled on one or more children ')
    if (entry.mode === 'snapshot') await removeImageMeta(image, signal)
    await explained((errno) => `${api}cannot disable mirroring: ${errnoText(errno)}`, () => disable(image, disabling, force, signal))
  } catch (error) {
    await setMirrorImage(io, id, { ...entry, state: 'enabled' }, options.log)
    throw error
  }
  if (entry.mode === 'journal') await disableJournaling(image, signal)
}

/** librbd/mirror/DisableRequest.cc */
async function disable(image: Image, entry: MirrorImage, force: boolean, signal: AbortSignal | undefined): Promise<void> {
  const { io, id, options } = image
  const { promotion } = await loadMirrorInfo(io, id, { signal })
  const primary = promotion.state === 'primary' || promotion.state === 'unknown'
  if (!primary) {
    if (!force) {
      const line = `${request}handle_get_mirror_info: mirrored image is not primary, add force option to disable mirroring`
      throw new Refusal(Errno.EINVAL, [line], image)
    }
    if (entry.mode === 'journal') await promoteJournal(image, true)
    else await promoteSnapshotImage(image, entry.globalImageId, signal)
  }
  await image.refreshIfNeeded()
  if (entry.mode === 'journal') await removePeerClients(image, signal)
  else {
    await removeTrashedMirrorSnapshots(image, signal)
    for (const { id: snapId } of mirrorSnapshots(image.header.snapshots)) await removeSnapshot(image, snapId, { signal })
  }
  await removeMirrorImage(io, id, entry.globalImageId, options.log)
}

/** With them go the snapshots that a sync of theirs has begun with. */
async function removePeerClients(image: Image, signal: AbortSignal | undefined): Promise<void> {
  const { io, id, options } = image
  const clients = await clientList.call(io, journalHeaderName(id), { startAfter: '', max: JOURNAL_MAX_RETURN })
  const metadata = await JournalMetadata.open({ io, journalId: id, log: options.log })
  try {
    for (const client of clients) {
      const data = decode(ClientData, client.data, `client data of journal ${id}`)
      if (data.type !== 'mirrorPeer') continue
      for (const { snapName, snapNamespace } of data.syncPoints) {
        const snapshot = findSnapshotByName(image.header, snapNamespace.type, snapName)
        if (snapshot) await removeSnapshot(image, snapshot.id, { signal })
      }
      await unregisterClient(metadata, client.id)
    }
  } finally {
    await metadata.close()
  }
}

async function removeImageMeta(image: Image, signal: AbortSignal | undefined): Promise<void> {
  const mirrorUuid = await mirrorUuidGet.call(image.io, RBD_MIRRORING, undefined)
  await removeMetadata(image, imageMetaKey(mirrorUuid), { signal })
}

/** A run that had removed the journal may not have lived to switch journaling off: nobody could write to the image. */
async function finishDisabling(image: Image, signal: AbortSignal | undefined): Promise<void> {
  if (!hasFeature(image.header.features, FEATURE_JOURNALING) || (await ifThere(image.io.stat(journalHeaderName(image.id))))) return
  await disableJournaling(image, signal)
}

/** The image is out of mirroring already: journaling that can't be switched off is no failure. */
async function disableJournaling(image: Image, signal: AbortSignal | undefined): Promise<void> {
  try {
    await updateFeatures(image, { features: FEATURE_JOURNALING, enabled: false, journal: primaryJournalSwitch() }, { signal })
  } catch (error) {
    signal?.throwIfAborted()
    image.options.log.warn({ imageId: image.id, error: String(error) }, 'journaling not switched off')
  }
}

async function hasMirroredChild(image: Image): Promise<boolean> {
  for (const { id } of image.header.snapshots) {
    const newer = await childrenOf(image.io, image.id, id)
    const older = (await oldChildrenOf(image, id)).map((child) => ({ ...child, poolNamespace: '' }))
    for (const child of [...newer, ...older]) if (await isMirrored(image, child)) return true
  }
  return false
}

async function isMirrored(image: Image, child: { poolId: bigint; poolNamespace: string; imageId: string }): Promise<boolean> {
  try {
    const pool = await image.options.cluster.openPoolById(child.poolId)
    const io = pool.duplicate({ namespace: child.poolNamespace })
    try {
      return (await findMirrorImage(io, child.imageId)) !== undefined
    } finally {
      io.close()
      pool.close()
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false // its pool is gone
    throw error
  }
}
