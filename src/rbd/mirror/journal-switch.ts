import type { JournalOptions } from '../../journal/journal.ts'
import { removeJournal } from '../../journal/journal.ts'
import type { Image } from '../image.ts'
import { createImageJournal } from '../journal/image-journal.ts'
import { LOCAL_MIRROR_UUID } from '../journal/tag-data.ts'
import type { JournalSwitch } from '../operations/features.ts'

/** An image, also one that is still being made. */
export type JournaledImage = Pick<Image, 'io' | 'id'> & { readonly options: Pick<Image['options'], 'cluster' | 'clock' | 'log'> }

/** Where an image's own journal is. */
export function journalOptionsOf({ io, id, options: { cluster, clock, log } }: JournaledImage): JournalOptions {
  return { io, journalId: id, openPool: (poolId) => cluster.openPoolById(poolId), clock, log }
}

export interface JournalLayoutOptions {
  order?: number
  splayWidth?: number
  /** name */
  pool?: string
}

/** Makes the journal of a primary image; the layout is `rbd_journal_*`'s where it is not given. */
export async function createPrimaryJournal(image: JournaledImage, layout: JournalLayoutOptions = {}): Promise<void> {
  const { cluster } = image.options
  const pool = layout.pool ?? cluster.option('rbd_journal_pool') ?? ''
  const numeric = (name: string, fallback: number) => Number(cluster.option(name) ?? fallback)
  await createImageJournal(journalOptionsOf(image), {
    mirrorUuid: LOCAL_MIRROR_UUID,
    layout: {
      order: layout.order ?? numeric('rbd_journal_order', 24),
      splayWidth: layout.splayWidth ?? numeric('rbd_journal_splay_width', 4),
      poolId: pool === '' ? -1n : await cluster.lookupPool(pool),
    },
  })
}

/** What the journaling feature of a primary image brings along. */
export function primaryJournalSwitch(layout: JournalLayoutOptions = {}): JournalSwitch {
  return {
    create: (image) => createPrimaryJournal(image, layout),
    remove: (image) => removeJournal(journalOptionsOf(image)),
  }
}
