import { setFeatures } from '../../cls/rbd/client.ts'
import type { MirrorImage } from '../../cls/rbd/mirror-types.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno } from '../../rados/errors.ts'
import { FEATURE_NON_PRIMARY } from '../features.ts'
import type { Image } from '../image.ts'
import { ImageJournal } from '../journal/image-journal.ts'
import { replayOwnJournal } from '../journal/own-replay.ts'
import { removeSnapshotHere } from '../operations/snapshot-remove.ts'
import { journalOptionsOf } from './journal-switch.ts'
import { loadMirrorInfo } from './mirror-info.ts'
import { mirrorSnapshots, type MirrorSnapshot } from './mirror-snapshot.ts'
import { createPrimarySnapshot } from './primary-snapshot.ts'
import { explained, Refusal } from './refusal.ts'

const prefix = 'librbd::mirror::DemoteRequest: '

/**
 * Gives up being primary: from then on nobody may write to the image until a site promotes itself (librbd/mirror/DemoteRequest.cc). Whoever has the
 * image's lock has to give it back first; open the image with `keepingLockPolicy`. A demotion that was cut short is finished. Rejects with Refusal.
 */
export async function demoteImage(image: Image, signal?: AbortSignal): Promise<void> {
  await explained(
    () => 'librbd::api::Mirror: image_demote: failed to demote image',
    async () => {
      await image.refresh()
      const refuse = (step: string, errno: number, why: string) => new Refusal(errno, [`${prefix}${step}: ${why}`], image)
      const { image: entry, promotion } = await explained(
        (errno) => `${prefix}handle_get_info: failed to retrieve mirroring state: ${errnoText(errno)}`,
        () => loadMirrorInfo(image.io, image.id, { signal }),
      )
      if (entry.state !== 'enabled') throw refuse('handle_get_info', Errno.EINVAL, 'mirroring is not currently enabled')
      const unfinished = promotion.state === 'orphan' && (await isUnfinished(image, entry))
      if (promotion.state !== 'primary' && !unfinished) throw refuse('handle_get_info', Errno.EINVAL, 'image is not primary')
      // the lock of an image that is no primary's is not to be had with its journal
      if (unfinished && entry.mode === 'journal') return withJournal(image, (journal) => journal.tellDemotion())
      const { lock } = image
      if (!image.usesLock || !lock) {
        if (entry.mode === 'journal') throw refuse('acquire_lock', Errno.EINVAL, 'exclusive lock is not active')
        return demote(image, entry, signal)
      }
      if ((await lock.acquire({ signal })) === 'refused') throw refuse('handle_acquire_lock', Errno.EROFS, 'failed to acquire exclusive lock')
      try {
        await demote(image, entry, signal)
      } finally {
        await lock.release()
      }
    },
  )
  await image.watcher?.notifyHeaderUpdate()
}

/** Nobody may write any more, but those who follow have not been told, and would wait for ever. */
async function isUnfinished(image: Image, { mode }: MirrorImage): Promise<boolean> {
  return mode === 'snapshot' ? incompleteDemotion(image) !== undefined : withJournal(image, (journal) => journal.isDemotionUntold())
}

async function withJournal<T>(image: Image, task: (journal: ImageJournal) => Promise<T>): Promise<T> {
  const journal = await ImageJournal.open(journalOptionsOf(image))
  try {
    return await task(journal)
  } finally {
    await journal.close()
  }
}

function incompleteDemotion({ header }: Image): MirrorSnapshot | undefined {
  const newest = mirrorSnapshots(header.snapshots).at(-1)
  return newest?.namespace.state === 'primary-demoted' && !newest.namespace.complete ? newest : undefined
}

async function demote(image: Image, { mode, globalImageId }: MirrorImage, signal: AbortSignal | undefined): Promise<void> {
  if (mode === 'journal') return demoteJournal(image)
  // first of all no client may write any more
  await setFeatures.call(image.io, image.headerOid, { features: FEATURE_NON_PRIMARY, mask: FEATURE_NON_PRIMARY })
  await image.headerChanged()
  const unfinished = incompleteDemotion(image)
  if (unfinished) await locked(image, () => removeSnapshotHere(image, unfinished.id))
  await createPrimarySnapshot(image, { globalImageId, demoted: true, withoutPeers: true, quiesce: 'skip', signal })
}

function locked(image: Image, task: () => Promise<void>): Promise<void> {
  return image.usesLock && image.lock ? image.lock.use(task) : task()
}

/** What a client that has died had journaled is on the other site, or will be: first the image gets it too. */
async function demoteJournal(image: Image): Promise<void> {
  await image.closeJournal()
  await withJournal(image, async (journal) => {
    await locked(image, () => replayOwnJournal(image, journal))
    await journal.demote()
  })
}
