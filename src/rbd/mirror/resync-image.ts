import { mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno } from '../../rados/errors.ts'
import type { Image } from '../image.ts'
import { ImageJournal } from '../journal/image-journal.ts'
import { RBD_MIRRORING } from '../names.ts'
import { saveImageMeta } from './image-meta.ts'
import { journalOptionsOf } from './journal-switch.ts'
import { loadMirrorInfo } from './mirror-info.ts'
import { explained, Refusal } from './refusal.ts'

const api = 'librbd::api::Mirror: image_resync: '

/** Asks this site's daemon to throw a replica away and copy it anew (librbd/api/Mirror.cc, image_resync). Rejects with Refusal. */
export async function resyncImage(image: Image, signal?: AbortSignal): Promise<void> {
  await image.refreshIfNeeded()
  const info = await loadMirrorInfo(image.io, image.id, { signal })
  if (info.promotion.state === 'primary') throw new Refusal(Errno.EINVAL, [`${api}image is primary, cannot resync to itself`], image)
  await explained(
    (errno) => `${api}failed to request resync: ${errnoText(errno)}`,
    () => (info.image.mode === 'journal' ? flagJournal(image) : flagMetadata(image)),
  )
}

async function flagJournal(image: Image): Promise<void> {
  const journal = await ImageJournal.open(journalOptionsOf(image))
  try {
    await journal.requestResync()
  } finally {
    await journal.close()
  }
}

async function flagMetadata(image: Image): Promise<void> {
  const mirrorUuid = await mirrorUuidGet.call(image.io, RBD_MIRRORING, undefined)
  await saveImageMeta(image.io, image.id, mirrorUuid, { resyncRequested: true })
  await image.headerChanged()
}
