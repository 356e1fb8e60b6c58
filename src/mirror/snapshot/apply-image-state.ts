import { snapshotGetLimit } from '../../cls/rbd/client.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import { FEATURE_JOURNALING, FEATURES_DISABLE_ONLY, FEATURES_MUTABLE } from '../../rbd/features.ts'
import type { Image } from '../../rbd/image.ts'
import type { ImageState } from '../../rbd/mirror/image-state.ts'
import { updateFeaturesHere, type JournalSwitch } from '../../rbd/operations/features.ts'
import { changeMetadataHere, listMetadata } from '../../rbd/operations/metadata.ts'
import { renameImageHere } from '../../rbd/operations/rename-image.ts'
import { protectSnapshotHere, renameSnapshotHere, setSnapshotLimit, unprotectSnapshotHere } from '../../rbd/operations/snapshot-edit.ts'
import { removeSnapshotHere } from '../../rbd/operations/snapshot-remove.ts'
import { orderRenames, planImageState, type ImageStateChanges, type SettingsChanges } from './apply-plan.ts'

/**
 * Brings everything but the data of the local image to the state that came with the remote snapshot: name, features, metadata, user
 * snapshots, snapshot limit. Each step can be done again. Resolves with what was changed.
 */
export async function applyImageState(
  local: Image,
  state: ImageState,
  remoteIdOf: (localId: SnapId) => SnapId | undefined,
  journal?: JournalSwitch,
): Promise<ImageStateChanges> {
  const [header, metadata, snapLimit] = await Promise.all([
    local.refreshIfNeeded(),
    listMetadata(local.io, local.id),
    snapshotGetLimit.call(local.io, local.headerOid),
  ])
  const changes = planImageState({ header, metadata, snapLimit }, state, remoteIdOf)
  await applySettings(local, changes, journal)
  for (const id of changes.unprotect) await unprotectSnapshotHere(local, id)
  for (const id of changes.remove) await removeSnapshotHere(local, id)
  for (const id of changes.protect) await protectSnapshotHere(local, id)
  const names = new Map(local.header.snapshots.filter(({ namespace }) => namespace.type === 'user').map(({ id, name }) => [id, name]))
  for (const { id, name } of orderRenames(changes.renameSnapshots, names)) await renameSnapshotHere(local, id, name)
  if (changes.snapLimit !== undefined) await applySnapshotLimit(local, changes.snapLimit)
  return changes
}

/** The same for name, features and metadata alone. */
export async function applySettings(local: Image, changes: SettingsChanges, journal?: JournalSwitch): Promise<void> {
  if (changes.rename !== undefined) await renameImageHere(local, changes.rename, { repeated: true })
  await applyFeatures(local, changes, journal)
  await changeMetadataHere(local, changes.metadata)
}

/** Below the number of snapshots that there are, mirror-snapshots included, a limit is refused: it waits for the next sync then. */
async function applySnapshotLimit(local: Image, limit: bigint): Promise<void> {
  try {
    await setSnapshotLimit(local, limit)
  } catch (error) {
    if (!isErrno(error, Errno.ERANGE)) throw error
    local.options.log.debug({ limit: String(limit) }, 'more snapshots than the limit of the primary')
  }
}

/** What can't be switched on a living image is as it was made, on both sides. */
async function applyFeatures(local: Image, { disableFeatures, enableFeatures }: SettingsChanges, journal: JournalSwitch | undefined): Promise<void> {
  const possible = journal ? FEATURES_MUTABLE : FEATURES_MUTABLE & ~FEATURE_JOURNALING
  const disable = disableFeatures & (possible | FEATURES_DISABLE_ONLY)
  const enable = enableFeatures & possible
  if (disable !== 0n) await updateFeaturesHere(local, { features: disable, enabled: false, journal })
  if (enable !== 0n) await updateFeaturesHere(local, { features: enable, enabled: true, journal })
}
