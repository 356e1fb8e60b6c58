import type { SnapId } from '../../../src/rados/io-ctx.ts'
import { findSnapshot, type ImageSnapshot } from '../../../src/rbd/header.ts'
import type { Image } from '../../../src/rbd/image.ts'
import { isNonPrimary, isPrimary, mirrorSnapshots, readsAsSynced, type MirrorSnapshot } from '../../../src/rbd/mirror/mirror-snapshot.ts'
import { contentOf, difference, findMirrored, mirrorEntry } from '../images.ts'
import type { AppliedChange } from '../world/observed-engine.ts'
import type { Connection } from '../world/process.ts'
import type { Site } from '../world/site.ts'
import type { World } from '../world/world.ts'

/** The last state that a replica has completed. */
export interface CompleteState {
  readonly snapshot: MirrorSnapshot
  readonly content: Buffer
  /** names */
  readonly userSnapshots: readonly string[]
}

const HEADER = 'rbd_header.'

/**
 * Snapshot mode, looked at after each change of a header: a sync is called complete only when the replica's head, its snapshot and its user
 * snapshots are the primary's; the primary's snapshots are let go only when they are not needed any more.
 */
export class ReplicaInvariants {
  private readonly changed = new Map<string, { site: Site; imageId: string; byPeer: boolean }>()
  /** by site and image id */
  private readonly complete = new Map<string, CompleteState>()
  /** by site and image id: the primary's snapshots that the peer still wants */
  private readonly linked = new Map<string, ReadonlySet<SnapId>>()
  /** by image id: the primary's snapshots that an operator has removed */
  private readonly removed = new Map<string, Set<SnapId>>()
  /** syncs that were looked at */
  checked = 0

  constructor(private readonly world: World) {
    world.appliedListeners.push((site, change, connection) => this.applied(site, change, connection))
    world.quietListeners.push(() => (this.changed.size > 0 ? this.check() : undefined))
  }

  /** What a forced promotion has to give. */
  lastComplete(site: Site, imageId: string): CompleteState | undefined {
    return this.complete.get(`${site.name}/${imageId}`)
  }

  /** An operator is about to remove it, and asks nobody. */
  isRemoved(imageId: string, id: SnapId): void {
    this.removed.set(imageId, (this.removed.get(imageId) ?? new Set()).add(id))
  }

  private applied(site: Site, { oid }: AppliedChange, connection: Connection): void {
    if (!oid.startsWith(HEADER)) return
    const imageId = oid.slice(HEADER.length)
    const key = `${site.name}/${imageId}`
    const byPeer = connection.remote || (this.changed.get(key)?.byPeer ?? false)
    this.changed.set(key, { site, imageId, byPeer })
  }

  private async check(): Promise<void> {
    const changed = [...this.changed]
    this.changed.clear()
    for (const [key, { site, imageId, byPeer }] of changed) {
      const entry = await mirrorEntry(site, imageId)
      if (entry?.mode !== 'snapshot') continue
      // in the middle of a rename, or of its making or removal, an image can't be looked at: later, then
      await site
        .look(imageId, async (image) => {
          await this.checkCompletion(key, site, image, entry.globalImageId)
          await this.checkLinks(key, site, image, entry.globalImageId, byPeer)
        })
        .catch(() => this.changed.set(key, { site, imageId, byPeer }))
    }
  }

  private async checkCompletion(key: string, site: Site, replica: Image, globalImageId: string): Promise<void> {
    const newest = newestComplete(replica.header.snapshots)
    if (!newest || this.complete.get(key)?.snapshot.id === newest.id) return
    const { primarySnapId, snapSeqs } = newest.namespace
    const other = this.world.other(site)
    const primaryId = await findMirrored(other, globalImageId)
    if (primaryId === undefined) return
    await other.look(primaryId, async (primary) => {
      const wanted = await contentOf(primary, primarySnapId)
      if (!wanted) return // removed meanwhile: nobody can tell
      this.checked++
      const compare = async (what: string, snap: SnapId | undefined, expected: Buffer) => {
        const differs = difference(expected, (await contentOf(replica, snap))!)
        if (differs !== undefined) {
          this.world.violate(`${replica.header.name} of ${site.name}: ${what} differs from snapshot ${primarySnapId} of the primary ${differs}, and is called complete`)
        }
      }
      await compare('the head', undefined, wanted)
      if (readsAsSynced(newest.namespace)) await compare(`snapshot ${newest.id}`, newest.id, wanted)
      for (const [remoteId, localId] of snapSeqs) {
        const original = findSnapshot(primary.header, remoteId)
        if (original?.namespace.type !== 'user' || !findSnapshot(replica.header, localId)) continue
        await compare(`user snapshot ${original.name}`, localId, (await contentOf(primary, remoteId))!)
      }
      const userSnapshots = replica.header.snapshots.filter(({ namespace }) => namespace.type === 'user').map(({ name }) => name)
      this.complete.set(key, { snapshot: newest, content: wanted, userSnapshots })
    })
  }

  /** The peer's daemon takes itself out of a snapshot only when a newer one has arrived there. */
  private async checkLinks(key: string, site: Site, primary: Image, globalImageId: string, byPeer: boolean): Promise<void> {
    const before = this.linked.get(key)
    const now = new Set(
      mirrorSnapshots(primary.header.snapshots)
        .filter(({ namespace }) => isPrimary(namespace) && namespace.mirrorPeerUuids.size > 0)
        .map(({ id }) => id),
    )
    this.linked.set(key, now)
    if (!before || !byPeer) return
    const unlinked = [...before].filter((id) => !now.has(id) && !this.removed.get(primary.id)?.has(id))
    if (unlinked.length === 0) return
    const other = this.world.other(site)
    const replicaId = await findMirrored(other, globalImageId)
    const state = replicaId === undefined ? undefined : this.lastComplete(other, replicaId)
    for (const id of unlinked) {
      // whoever has not heard yet that mirroring was given up and begun anew goes on with the replica of before; a new one begins with the newest
      if (!state && [...now].some((linked) => linked > id)) continue
      if (!state || state.snapshot.namespace.primarySnapId <= id) {
        this.world.violate(`${primary.header.name} of ${site.name}: snapshot ${id} was let go before a newer one was synced (last: ${state?.snapshot.namespace.primarySnapId})`)
      }
    }
  }
}

function newestComplete(snapshots: readonly ImageSnapshot[]): MirrorSnapshot | undefined {
  return mirrorSnapshots(snapshots).findLast(({ namespace }) => isNonPrimary(namespace) && namespace.complete && namespace.primaryMirrorUuid !== '')
}
