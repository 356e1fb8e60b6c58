import { dirGetId } from '../../src/cls/rbd/client.ts'
import type { MirrorImageMode } from '../../src/cls/rbd/mirror-types.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx, SnapId } from '../../src/rados/io-ctx.ts'
import { createImage, generateImageId } from '../../src/rbd/create-image.ts'
import { FEATURE_DEEP_FLATTEN, FEATURE_EXCLUSIVE_LOCK, FEATURE_FAST_DIFF, FEATURE_LAYERING, FEATURE_OBJECT_MAP } from '../../src/rbd/features.ts'
import { findSnapshotByName, loadHeader, type ImageSnapshot } from '../../src/rbd/header.ts'
import { Image, type ImageOptions } from '../../src/rbd/image.ts'
import { keepingLockPolicy } from '../../src/rbd/lock-policy.ts'
import { demoteImage } from '../../src/rbd/mirror/demote-image.ts'
import { findMirrorImage } from '../../src/rbd/mirror/image-entry.ts'
import { disableImage } from '../../src/rbd/mirror/disable-image.ts'
import { enableImage } from '../../src/rbd/mirror/enable-image.ts'
import { journalOptionsOf } from '../../src/rbd/mirror/journal-switch.ts'
import { loadMirrorInfo } from '../../src/rbd/mirror/mirror-info.ts'
import { createPrimarySnapshot } from '../../src/rbd/mirror/primary-snapshot.ts'
import { promoteImage } from '../../src/rbd/mirror/promote-image.ts'
import { resyncImage } from '../../src/rbd/mirror/resync-image.ts'
import { RBD_DIRECTORY } from '../../src/rbd/names.ts'
import { updateFeatures } from '../../src/rbd/operations/features.ts'
import { flattenImage } from '../../src/rbd/operations/flatten.ts'
import { invokeHere } from '../../src/rbd/operations/invoke.ts'
import { setMetadata } from '../../src/rbd/operations/metadata.ts'
import { renameImage } from '../../src/rbd/operations/rename-image.ts'
import { resizeImage } from '../../src/rbd/operations/resize.ts'
import { createSnapshot } from '../../src/rbd/operations/snapshot-create.ts'
import { renameSnapshot } from '../../src/rbd/operations/snapshot-edit.ts'
import { removeSnapshot } from '../../src/rbd/operations/snapshot-remove.ts'
import { rollBackSnapshotHere } from '../../src/rbd/operations/snapshot-rollback.ts'
import type { Level } from '../../src/rbd/mirror/schedule/level.ts'
import { saveSchedule } from '../../src/rbd/mirror/schedule/schedule-store.ts'
import { removeImage } from '../../src/rbd/remove-image.ts'
import { removeJournal } from '../../src/journal/journal.ts'
import { Process } from './world/process.ts'
import { POOL, type Site } from './world/site.ts'
import type { World } from './world/world.ts'

export const FEATURES = FEATURE_LAYERING | FEATURE_EXCLUSIVE_LOCK | FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF | FEATURE_DEEP_FLATTEN
/** log2 of the bytes of an object */
const ORDER = 12

interface Hands {
  io: IoCtx
  cluster: Cluster
  options: Omit<ImageOptions, 'access'>
  process: Process
}


/** One command of `rbd` at one site, in a process of its own, which may be killed. */
export class Command<T = void> {
  readonly process: Process
  readonly done: Promise<T>

  constructor(world: World, site: Site, what: string, task: (hands: Hands) => Promise<T>) {
    this.process = new Process(world, `${what}.${site.name.at(-1)}`, 'operator')
    this.done = this.run(site, task)
    this.done.catch(() => undefined) // whoever asks for it is told
  }

  private async run(site: Site, task: (hands: Hands) => Promise<T>): Promise<T> {
    const { clock, random, log } = this.process
    const cluster = await this.process.connect(site)
    try {
      const io = await cluster.openPool(POOL)
      return await task({ io, cluster, options: { cluster, clock, random, log }, process: this.process })
    } finally {
      await cluster.close()
    }
  }
}

/** What operators do to images, by name. */
export class Operator {
  constructor(
    private readonly world: World,
    readonly site: Site,
  ) {}

  command<T>(what: string, task: (hands: Hands) => Promise<T>): Command<T> {
    return new Command(this.world, this.site, what, task)
  }

  onImage<T>(what: string, name: string, task: (image: Image, hands: Hands) => Promise<T>, more: Partial<ImageOptions> = {}): Command<T> {
    return this.command(what, async (hands) => {
      const id = await dirGetId.call(hands.io, RBD_DIRECTORY, { name })
      const image = await Image.open(hands.io, { id }, { ...hands.options, access: 'write', ...more })
      try {
        return await task(image, hands)
      } finally {
        await image.close()
      }
    })
  }

  create(name: string, size: number, features = FEATURES): Command<string> {
    return this.command('create', async ({ io, cluster, process }) => {
      const id = generateImageId(cluster.instanceId, process.random)
      await createImage(io, { id, name, size, order: ORDER, features })
      return id
    })
  }

  /** A clone of format v2 of the user snapshot `snapshot` of `parent`. */
  clone(parent: string, snapshot: string, name: string): Command<string> {
    return this.command('clone', async ({ io, cluster, options, process }) => {
      const imageId = await dirGetId.call(io, RBD_DIRECTORY, { name: parent })
      const { size, features, snapshots } = await loadHeader(io, imageId, { access: 'read-only', signal: options.signal })
      const { id: snapId } = snapshots.find((one) => one.namespace.type === 'user' && one.name === snapshot)!
      const id = generateImageId(cluster.instanceId, process.random)
      const from = { poolId: io.poolId, poolNamespace: io.namespace, imageId, snapId, overlap: size, cloneFormat: 2 as const, io }
      await createImage(io, { id, name, size, order: ORDER, features: features & FEATURES, parent: from })
      return id
    })
  }

  flatten(name: string): Command {
    return this.onImage('flatten', name, (image) => flattenImage(image), { journaled: true })
  }

  enable(name: string, mode: MirrorImageMode): Command {
    return this.onImage('enable', name, (image) => enableImage(image, { mode }), { journaled: mode === 'journal' })
  }

  disable(name: string, force = false): Command {
    return this.onImage('disable', name, (image) => disableImage(image, force))
  }

  snapshot(name: string): Command<SnapId> {
    return this.onImage('mirror-snapshot', name, async (image) => {
      const { globalImageId } = (await loadMirrorInfo(image.io, image.id)).image
      return createPrimarySnapshot(image, { globalImageId })
    })
  }

  promote(name: string, force = false): Command {
    return this.onImage(force ? 'force-promote' : 'promote', name, (image) => promoteImage(image, force))
  }

  demote(name: string): Command {
    return this.onImage('demote', name, (image) => demoteImage(image), { lockPolicy: keepingLockPolicy, journaled: true })
  }

  /** As whoever is going to write does. */
  takeLock(name: string): Command {
    return this.onImage('lock', name, async (image) => void (await image.lock!.acquire()), { journaled: true })
  }

  resync(name: string): Command {
    return this.onImage('resync', name, (image) => resyncImage(image))
  }

  userSnapshot(name: string, snapshot: string): Command {
    return this.onImage('snap-create', name, (image) => createSnapshot(image, { name: snapshot, namespace: { type: 'user' } }), { journaled: true })
  }

  removeUserSnapshot(name: string, snapshot: string): Command {
    return this.onImage(
      'snap-rm',
      name,
      async (image) => {
        const found = findSnapshotByName(image.header, 'user', snapshot)
        if (found) await removeSnapshot(image, found.id)
      },
      { journaled: true },
    )
  }

  /** Data and size become what they were. */
  rollBack(name: string, snapshot: string): Command {
    return this.onImage(
      'snap-rollback',
      name,
      async (image) => {
        const { id } = this.userSnapshotOf(image, snapshot)
        const start = { type: 'snapRollback', snapName: snapshot, snapNamespace: { type: 'user' } } as const
        await invokeHere(image, 'roll back to snapshot', start, () => rollBackSnapshotHere(image, id))
      },
      { journaled: true },
    )
  }

  renameSnapshot(name: string, snapshot: string, to: string): Command {
    return this.onImage('snap-rename', name, (image) => renameSnapshot(image, this.userSnapshotOf(image, snapshot).id, to), { journaled: true })
  }

  private userSnapshotOf(image: Image, name: string): ImageSnapshot {
    const found = findSnapshotByName(image.header, 'user', name)
    if (!found) throw new RadosError(Errno.ENOENT, { op: `snapshot ${name}` })
    return found
  }

  setMetadata(name: string, key: string, value: string): Command {
    return this.onImage('image-meta', name, (image) => setMetadata(image, key, value), { journaled: true })
  }

  /** Object-map and fast-diff; when they are switched on again the maps stay invalid. */
  switchObjectMap(name: string, enabled: boolean): Command {
    return this.onImage('feature', name, (image) => updateFeatures(image, { features: FEATURE_OBJECT_MAP | FEATURE_FAST_DIFF, enabled }), { journaled: true })
  }

  /** As `rbd snap rm --snap-id` does. */
  removeSnapshotById(name: string, id: SnapId): Command {
    return this.onImage('snap-rm', name, (image) => removeSnapshot(image, id), { journaled: true })
  }

  resize(name: string, size: number): Command {
    return this.onImage('resize', name, (image) => resizeImage(image, { size, allowShrink: true }), { journaled: true })
  }

  rename(name: string, to: string): Command {
    return this.onImage('rename', name, (image) => renameImage(image, to), { journaled: true })
  }

  /** Of the pool; undefined takes them away. */
  schedule(minutes: number | undefined): Command {
    return this.command('schedule', async ({ io, cluster }) => {
      const level: Level = { poolId: io.poolId, namespace: undefined, imageId: undefined }
      await saveSchedule(cluster, level, minutes === undefined ? undefined : [{ interval: minutes, start: undefined }])
    })
  }

  /** As `rbd rm` does: out of mirroring first. */
  remove(name: string): Command {
    return this.command('remove', async ({ io, options }) => {
      const id = await dirGetId.call(io, RBD_DIRECTORY, { name })
      if (await findMirrorImage(io, id)) {
        const image = await Image.open(io, { id }, { ...options, access: 'write' })
        try {
          await disableImage(image, false)
        } finally {
          await image.close()
        }
      }
      const remove = (imageId: string) => removeJournal(journalOptionsOf({ io, id: imageId, options }))
      await removeImage(io, id, { ...options, snapshots: 'mirror', removeJournal: remove })
    })
  }
}
