import { isCancelled } from '../base/cancelled.ts'
import { delay } from '../base/clock.ts'
import { Notifier } from '../base/notifier.ts'
import { Scope } from '../base/scope.ts'
import { untilAborted } from '../base/until-aborted.ts'
import { mirrorImageGetImageId, mirrorImageList } from '../cls/rbd/mirror-client.ts'
import { MirrorImage } from '../cls/rbd/mirror-types.ts'
import { decode } from '../encoding/codec.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'
import { decodeMirroringMessage, type MirroringMessage } from '../rbd/notify/mirroring-messages.ts'
import { keepWatch, type WatchDeps } from './watch-keeper.ts'

const PAGE = 1024
/** Of the omap keys of `rbd_mirroring` that hold an image's entry (cls/rbd/cls_rbd.cc). */
const IMAGE_KEY_PREFIX = 'image_'
/** Between two listings: notifications come in bursts when many images are enabled. */
const MIN_INTERVAL_MS = 200
/** A listing is renewed this often even if nobody notifies: a notification may be lost with its sender. */
const REFRESH_MS = 60_000
const RETRY_MS = 1_000

/** The mirror images of one pool namespace on one side: global image id → image id. */
export type ImageListing = ReadonlyMap<string, string>

export interface PoolWatcherEvents {
  /** The listing as it is now; called first once it is known. */
  onListing(images: ImageListing): void
  /** Somebody changed an image's mirroring (enabled, disabled, being disabled …). */
  onImageUpdated(globalImageId: string, enabled: boolean): void
  /** Called with each listing: ids of images that are not in it because their entry makes no sense, or names another image. */
  onUnreadable(imageIds: readonly string[]): void
  /** The cluster seems not to answer, or to have lost its record of mirroring. */
  onSilent?(): void
}

export interface MirrorImagesFound {
  images: Map<string, string>
  /** ids of images whose entry makes no sense */
  unreadable: string[]
  /** images with the global image id of another, which is the one that is mirrored: image id → that other's */
  shadowed: Map<string, string>
}

/** Reads all pages. ENOENT (mirroring was never enabled there) gives an empty listing. */
export async function listMirrorImages(io: IoCtx): Promise<MirrorImagesFound> {
  const entries: [globalImageId: string, imageId: string][] = []
  try {
    for (let startAfter = ''; ; ) {
      const found = await mirrorImageList.call(io, RBD_MIRRORING, { startAfter, max: PAGE })
      for (const [imageId, globalImageId] of found) {
        entries.push([globalImageId, imageId])
        startAfter = imageId
      }
      if (found.size < PAGE) return await sorted(io, entries, [])
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return { images: new Map(), unreadable: [], shadowed: new Map() }
    // a single entry that makes no sense has the OSD refuse all of them
    if (isErrno(error, Errno.EIO)) return listOneByOne(io)
    throw error
  }
}

/** The OSD knows one image by each global id; another one's entry with the same can only have been made by hand, or restored. */
async function sorted(io: IoCtx, entries: readonly [globalImageId: string, imageId: string][], unreadable: string[]): Promise<MirrorImagesFound> {
  const images = new Map<string, string>()
  const shadowed = new Map<string, string>()
  for (const [globalImageId, imageId] of entries) {
    const rival = images.get(globalImageId)
    if (rival === undefined) {
      images.set(globalImageId, imageId)
      continue
    }
    const known = (await knownBy(io, globalImageId)) === imageId ? imageId : rival
    images.set(globalImageId, known)
    shadowed.set(known === imageId ? rival : imageId, known)
  }
  return { images, unreadable, shadowed }
}

async function knownBy(io: IoCtx, globalImageId: string): Promise<string | undefined> {
  try {
    return await mirrorImageGetImageId.call(io, RBD_MIRRORING, { globalImageId })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

async function listOneByOne(io: IoCtx): Promise<MirrorImagesFound> {
  const found: [globalImageId: string, imageId: string][] = []
  const unreadable: string[] = []
  for (let after = ''; ; ) {
    const { entries, more } = await io.omapGet(RBD_MIRRORING, after, IMAGE_KEY_PREFIX, PAGE)
    for (const [key, value] of entries) {
      after = key
      const imageId = key.slice(IMAGE_KEY_PREFIX.length)
      try {
        found.push([decode(MirrorImage, value, key).globalImageId, imageId])
      } catch (error) {
        if (!(error instanceof MalformedInput)) throw error
        unreadable.push(imageId)
      }
    }
    if (!more || entries.size === 0) return sorted(io, found, unreadable)
  }
}

/** Follows the mirror images of one pool namespace on one side, by watch. */
export class PoolWatcher {
  private readonly notifier = new Notifier()

  constructor(
    private readonly io: IoCtx,
    private readonly deps: WatchDeps,
    private readonly events: PoolWatcherEvents,
  ) {}

  /** List again at once. */
  wake(): void {
    this.notifier.wake()
  }

  /** Follows until the signal is aborted. Rejects when the connection is blocklisted or the pool is gone. */
  async run(signal: AbortSignal): Promise<void> {
    const scope = new Scope(signal)
    scope.spawn('watch', (stop) =>
      keepWatch(
        {
          io: this.io,
          oid: RBD_MIRRORING,
          onNotify: (payload) => this.onNotify(payload),
          onWatched: () => this.notifier.wake(),
          onMissing: () => {
            this.notifier.wake()
            this.events.onSilent?.()
          },
          ...(this.events.onSilent && { onSilent: () => this.events.onSilent!() }),
        },
        this.deps,
        stop,
      ),
    )
    scope.spawn('list', (stop) => this.list(stop))
    await untilAborted(scope.signal)
    await scope.close()
    signal.throwIfAborted()
  }

  private async list(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.deps
    let waitMs: number | undefined
    for (;;) {
      await this.notifier.wait(clock, waitMs, signal)
      try {
        const { images, unreadable, shadowed } = await listMirrorImages(this.io)
        if (unreadable.length > 0) log.warn({ imageIds: unreadable }, 'cannot read the mirroring entries of some images')
        for (const [imageId, known] of shadowed) log.warn({ imageId }, `image has the global image id of image ${known}, and is not mirrored; ${this.cureOf(imageId)}`)
        this.events.onUnreadable([...unreadable, ...shadowed.keys()])
        this.events.onListing(images)
        waitMs = REFRESH_MS
      } catch (error) {
        if (isCancelled(error) || isErrno(error, EBLOCKLISTED)) throw error
        log.warn({ err: error }, 'cannot list the mirrored images')
        waitMs = RETRY_MS
      }
      await delay(clock, MIN_INTERVAL_MS, signal)
    }
  }

  private cureOf(imageId: string): string {
    const { poolName, namespace } = this.io
    return `to mirror it for itself: rados -p ${poolName}${namespace === '' ? '' : ` -N ${namespace}`} rmomapkey rbd_mirroring image_${imageId}, then rbd mirror image enable`
  }

  private onNotify(payload: Buffer): void {
    let message: MirroringMessage
    try {
      message = decodeMirroringMessage(payload)
    } catch (error) {
      if (!(error instanceof MalformedInput)) throw error
      this.deps.log.warn({ err: error }, 'cannot read a mirroring notification')
      return this.notifier.wake() // the listing tells what it was about
    }
    if (message.type === 'unknown') return
    if (message.type === 'imageUpdated') this.events.onImageUpdated(message.globalImageId, message.state === 'enabled')
    this.notifier.wake()
  }
}
