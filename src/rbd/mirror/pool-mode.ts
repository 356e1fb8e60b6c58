import { mirrorModeSet, mirrorUuidSet } from '../../cls/rbd/mirror-client.ts'
import type { MirrorMode } from '../../cls/rbd/mirror-types.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { listImages } from '../directory.ts'
import { FEATURE_JOURNALING, hasFeature } from '../features.ts'
import { Image, type ImageOptions } from '../image.ts'
import { RBD_MIRRORING } from '../names.ts'
import { disableImage } from './disable-image.ts'
import { enableImage } from './enable-image.ts'
import { findMirrorImage, listMirrorImages } from './image-entry.ts'
import { notifyMirroring } from './mirroring-notify.ts'
import { listPeers } from './peers.ts'
import { getMirrorMode } from './get-mirror-mode.ts'
import { explained, Refusal } from './refusal.ts'

const api = 'librbd::api::Mirror: mode_set: '

type OpenOptions = Omit<ImageOptions, 'access'>

/**
 * Changes how a pool or namespace is mirrored (librbd/api/Mirror.cc, mode_set). In `pool` mode all images with a journal are mirrored by that; leaving
 * it for `disabled` takes them out again. EBUSY while peers are registered, EINVAL while images are mirrored one by one. Rejects with Refusal.
 */
export async function setMirrorMode(io: IoCtx, next: MirrorMode, options: OpenOptions): Promise<void> {
  const refuse = (errno: number, why: string) => new Refusal(errno, [`${api}${why}`], { io })
  if (next === 'disabled' && (await listPeers(io)).length > 0) throw refuse(Errno.EBUSY, 'mirror peers still registered')
  const current = await getMirrorMode(io)
  if (current === next) return
  if (current === 'disabled') {
    const line = (errno: number) => `${api}failed to allocate mirroring uuid: ${errnoText(errno)}`
    await explained(line, () => mirrorUuidSet.call(io, RBD_MIRRORING, { uuid: options.random.uuid() }))
  }
  if (current !== 'image') await set(io, 'image', options)
  if (next === 'image') return
  if (next === 'pool') await enableAll(io, options)
  else if (current === 'pool') await disableAll(io, options)
  else if (await isAnyEnabled(io)) {
    throw refuse(Errno.EINVAL, 'failed to disable mirror mode: there are still images with mirroring enabled')
  }
  await set(io, next, options)
}

async function set(io: IoCtx, mode: MirrorMode, { log }: OpenOptions): Promise<void> {
  await explained((errno) => `${api}failed to set mirror mode: ${errnoText(errno)}`, () => mirrorModeSet.call(io, RBD_MIRRORING, { mode }))
  await notifyMirroring(io, { type: 'modeUpdated', mirrorMode: mode }, log)
}

/** Only images with a journal: an image alone may choose snapshots. */
async function enableAll(io: IoCtx, options: OpenOptions): Promise<void> {
  for (const [name, id] of await listImages(io)) {
    const line = (errno: number) => `${api}error enabling mirroring for image ${name}: ${errnoText(errno)}`
    await explained(line, () =>
      withImage(io, id, options, async (image) => {
        if (hasFeature(image.header.features, FEATURE_JOURNALING)) await enableImage(image, { mode: 'journal', relaxParentCheck: true, signal: options.signal })
      }),
    )
  }
}

/** A parent can go only after its children: as long as one image goes, the others are tried again. */
async function disableAll(io: IoCtx, options: OpenOptions): Promise<void> {
  for (;;) {
    let disabled = 0
    let busy = 0
    for (const id of await listMirrorImages(io)) {
      try {
        await withImage(io, id, options, (image) => disableImage(image, false, options.signal))
        disabled++
      } catch (error) {
        if (!isErrno(error, Errno.EBUSY)) {
          throw await explainedError(error, (errno) => `${api}error disabling mirroring for image id ${id}${errnoText(errno)}`)
        }
        busy++
      }
    }
    if (busy === 0) return
    if (disabled === 0) throw new Refusal(Errno.EBUSY, [`${api}error disabling mirroring for one or more images`], { io })
  }
}

function explainedError(error: unknown, line: (errno: number) => string): Promise<unknown> {
  return explained(line, () => Promise.reject(error as Error)).catch((told: unknown) => told)
}

async function isAnyEnabled(io: IoCtx): Promise<boolean> {
  for (const id of await listMirrorImages(io)) if ((await findMirrorImage(io, id))?.state === 'enabled') return true
  return false
}

async function withImage(io: IoCtx, id: string, options: OpenOptions, task: (image: Image) => Promise<void>): Promise<void> {
  const image = await Image.open(io, { id }, { ...options, access: 'write' })
  try {
    await task(image)
  } finally {
    await image.close()
  }
}
