import { findLocker } from '../../../src/rbd/managed-lock.ts'
import { loadMirrorInfo } from '../../../src/rbd/mirror/mirror-info.ts'
import { headerName } from '../../../src/rbd/names.ts'
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

  constructor(private readonly world: World) {
    world.appliedListeners.push((site, change, connection) => this.applied(site, change, connection))
    world.quietListeners.push(() => (this.writes.length > 0 ? this.check() : undefined))
  }

  private applied(site: Site, { oid, changes }: AppliedChange, connection: Connection): void {
    // what the OSDs do when a snapshot is removed gives no new version
    if (!oid.startsWith('rbd_data.') || !changes.bumpVersion) return
    if (connection.remote) this.world.violate(`${connection.process.name} has written ${oid} of its peer ${site.name}`)
    const imageId = oid.split('.')[1]!
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
      if (process.role !== 'daemon') continue
      const { image, promotion } = await loadMirrorInfo(site.io, imageId).catch(() => ({ image: { mode: undefined }, promotion: { state: undefined } }))
      if (image.mode === 'snapshot' && promotion.state === 'primary') this.world.violate(`${process.name} has written ${oid} of ${site.name}, which is primary`)
    }
  }
}
