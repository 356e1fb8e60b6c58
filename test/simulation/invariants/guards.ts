import { findLocker } from '../../../src/rbd/managed-lock.ts'
import { loadMirrorInfo } from '../../../src/rbd/mirror/mirror-info.ts'
import { headerName, RBD_MIRRORING } from '../../../src/rbd/names.ts'
import type { AppliedChange } from '../world/observed-engine.ts'
import type { Connection } from '../world/process.ts'
import type { Site } from '../world/site.ts'
import type { World } from '../world/world.ts'

interface DataWrite {
  readonly site: Site
  readonly connection: Connection
  readonly imageId: string
  readonly oid: string
}

/**
 * Who may write an image's data: nobody from afar, only the owner of its exclusive lock, and no daemon where the image is primary.
 */
export class DataGuard {
  private readonly writes: DataWrite[] = []
  /** Writers that were found to be allowed, by site and image, as long as nothing has changed that could forbid it. */
  private readonly allowed = new Map<string, Connection>()

  constructor(private readonly world: World) {
    world.appliedListeners.push((site, change, connection) => this.applied(site, change, connection))
    world.quietListeners.push(() => (this.writes.length > 0 ? this.check() : undefined))
  }

  private applied(site: Site, { oid, changes }: AppliedChange, connection: Connection): void {
    if (!oid.startsWith('rbd_data.')) {
      if (oid.startsWith('rbd_header.') || oid === RBD_MIRRORING) this.allowed.clear()
      return
    }
    // what the OSDs do when a snapshot is removed gives no new version
    if (!changes.bumpVersion) return
    if (connection.remote) this.world.violate(`${connection.process.name} has written ${oid} of its peer ${site.name}`)
    const imageId = oid.split('.')[1]!
    if (this.allowed.get(`${site.name}/${imageId}`) === connection) return
    this.writes.push({ site, connection, imageId, oid })
  }

  private async check(): Promise<void> {
    for (const { site, connection, imageId, oid } of this.writes.splice(0)) {
      const { process } = connection
      const locker = await findLocker(site.io, headerName(imageId))
      const owner = typeof locker === 'object' ? site.clients.get(locker.address) : undefined
      if (owner !== connection) {
        this.world.violate(`${process.name} has written ${oid} of ${site.name} while the image's lock was ${owner ? `${owner.process.name}'s` : 'free'}`)
      }
      this.allowed.set(`${site.name}/${imageId}`, connection)
      if (process.role !== 'daemon') continue
      const { image, promotion } = await loadMirrorInfo(site.io, imageId).catch(() => ({ image: { mode: undefined }, promotion: { state: undefined } }))
      if (image.mode === 'snapshot' && promotion.state === 'primary') this.world.violate(`${process.name} has written ${oid} of ${site.name}, which is primary`)
    }
  }
}
