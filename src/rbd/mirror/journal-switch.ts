import type { JournalOptions } from '../../journal/journal.ts'
import { removeJournal } from '../../journal/journal.ts'
import type { Image } from '../image.ts'
import { createImageJournal } from '../journal/image-journal.ts'
import { LOCAL_MIRROR_UUID } from '../journal/tag-data.ts'
import type { JournalSwitch } from '../operations/features.ts'

/** Where an image's own journal is. */
export function journalOptionsOf({ io, id, options: { cluster, clock, log } }: Image): JournalOptions {
  return { io, journalId: id, openPool: (poolId) => cluster.openPoolById(poolId), clock, log }
}

export interface JournalLayoutOptions {
  order?: number
  splayWidth?: number
  /** name */
  pool?: string
}

/** What the journaling feature of a primary image brings along; the layout is `rbd_journal_*`'s where it is not given. */
export function primaryJournalSwitch(layout: JournalLayoutOptions = {}): JournalSwitch {
  return {
    async create(image) {
      const { cluster } = image.options
      const pool = layout.pool ?? cluster.option('rbd_journal_pool') ?? ''
      await createImageJournal(journalOptionsOf(image), {
        mirrorUuid: LOCAL_MIRROR_UUID,
        layout: {
          order: layout.order ?? image.numericOption('rbd_journal_order', 24),
          splayWidth: layout.splayWidth ?? image.numericOption('rbd_journal_splay_width', 4),
          poolId: pool === '' ? -1n : await cluster.lookupPool(pool),
        },
      })
    },
    remove: (image) => removeJournal(journalOptionsOf(image)),
  }
}
