import type { SnapId } from '../../rados/io-ctx.ts'
import { FEATURES_IMPLICIT_ENABLE } from '../../rbd/features.ts'
import type { ImageHeader } from '../../rbd/header.ts'
import { isGivenUp } from '../../rbd/mirror/given-up.ts'
import type { ImageState } from '../../rbd/mirror/image-state.ts'
import { metadataChanges, type MetadataChanges } from '../../rbd/operations/metadata.ts'

/** What of two images differs besides their data and snapshots. */
export interface SettingsChanges {
  rename: string | undefined
  disableFeatures: bigint
  enableFeatures: bigint
  metadata: MetadataChanges
}

/** What of an image besides its data differs from the state that came with a mirror-snapshot. */
export interface ImageStateChanges extends SettingsChanges {
  unprotect: SnapId[]
  remove: SnapId[]
  protect: SnapId[]
  renameSnapshots: { id: SnapId; name: string }[]
  snapLimit: bigint | undefined
}

export interface LocalImageState {
  header: ImageHeader
  metadata: ReadonlyMap<string, Buffer>
  snapLimit: bigint
}

/**
 * Compares the local image with a state of the remote one (tools/rbd_mirror/image_replayer/snapshot/ApplyImageStateRequest.cc).
 *
 * @param remoteIdOf the remote snapshot that a local one stands for
 */
export function planImageState(local: LocalImageState, state: ImageState, remoteIdOf: (localId: SnapId) => SnapId | undefined): ImageStateChanges {
  const { header, metadata } = local
  const changes: ImageStateChanges = {
    ...planSettings({ name: header.name, features: header.features, metadata }, state),
    unprotect: [],
    remove: [],
    protect: [],
    renameSnapshots: [],
    snapLimit: state.snapLimit === local.snapLimit ? undefined : state.snapLimit,
  }
  for (const { id, namespace, name, protection } of header.snapshots) {
    if (namespace.type !== 'user' || isGivenUp({ namespace, name })) continue
    const remoteId = remoteIdOf(id)
    const wanted = remoteId === undefined ? undefined : state.snapshots.get(remoteId)
    if (protection !== 'unprotected' && wanted?.protection !== 'protected') changes.unprotect.push(id)
    if (!wanted) changes.remove.push(id)
    else {
      if (protection !== 'protected' && wanted.protection === 'protected') changes.protect.push(id)
      if (name !== wanted.name) changes.renameSnapshots.push({ id, name: wanted.name })
    }
  }
  return changes
}

export interface Settings {
  name: string
  features: bigint
  metadata: ReadonlyMap<string, Buffer>
}

/** What makes an image with the settings `local` have those of `wanted`. */
export function planSettings(local: Settings, wanted: Settings): SettingsChanges {
  const have = local.features & ~FEATURES_IMPLICIT_ENABLE
  const want = wanted.features & ~FEATURES_IMPLICIT_ENABLE
  return {
    rename: wanted.name === local.name ? undefined : wanted.name,
    disableFeatures: have & ~want,
    enableFeatures: want & ~have,
    metadata: metadataChanges(local.metadata, wanted.metadata),
  }
}

/**
 * An order in which snapshots can be renamed without two of the same name at any time. `taken` are the names of all user snapshots that
 * are there; names that only go round in a circle need a stop-over, whose name is made from the snapshot's id.
 */
export function orderRenames(renames: readonly { id: SnapId; name: string }[], taken: ReadonlyMap<SnapId, string>): { id: SnapId; name: string }[] {
  const current = new Map(taken)
  const waiting = [...renames]
  const ordered: { id: SnapId; name: string }[] = []
  const rename = (id: SnapId, name: string) => {
    ordered.push({ id, name })
    current.set(id, name)
  }
  while (waiting.length > 0) {
    const names = new Set(current.values())
    const free = waiting.findIndex(({ name }) => !names.has(name))
    if (free >= 0) {
      const [{ id, name }] = waiting.splice(free, 1) as [{ id: SnapId; name: string }]
      rename(id, name)
      continue
    }
    const stuck = waiting.find(({ id }) => !current.get(id)?.startsWith('.rbd-mirror.'))
    if (!stuck) return [...ordered, ...waiting] // a name that stays taken: the cluster refuses it, and says so
    rename(stuck.id, `.rbd-mirror.${stuck.id}`)
  }
  return ordered
}
