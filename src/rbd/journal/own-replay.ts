import { decode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { commitPosition } from '../../journal/clients.ts'
import { advancePositions } from '../../journal/commit-position.ts'
import { findSnapshotByName, findSnapshotToRemove } from '../header.ts'
import type { Image } from '../image.ts'
import { flattenImageHere } from '../operations/flatten.ts'
import { removeMetadataHere, setMetadataHere } from '../operations/metadata.ts'
import { renameImageHere } from '../operations/rename-image.ts'
import { resizeImageHere } from '../operations/resize.ts'
import { createSnapshotHere } from '../operations/snapshot-create.ts'
import { protectSnapshotHere, renameSnapshotHere, setSnapshotLimitHere, unprotectSnapshotHere } from '../operations/snapshot-edit.ts'
import { removeSnapshotHere } from '../operations/snapshot-remove.ts'
import { rollBackSnapshotHere } from '../operations/snapshot-rollback.ts'
import { readImage } from '../read-image.ts'
import { discardHere, writeHere } from '../write-image.ts'
import { EventEntry, type JournalEvent } from './events.ts'
import { IMAGE_CLIENT_ID, type ImageJournal } from './image-journal.ts'
import { saysDoneBefore, type OperationEvent } from './operation-events.ts'


/**
 * Does what an earlier holder of the lock has recorded and perhaps not done, in its order (librbd/journal/Replay.cc): writes at once,
 * operations when they are said to be finished, or else at the journal's end. All of it bears being done twice. Rejects with RadosError, or
 * MalformedInput for a journal that can't be read.
 */
export async function replayOwnJournal(image: Image, own: ImageJournal): Promise<void> {
  const { journal } = own
  const { metadata } = journal
  const { player, detach } = journal.play(own.committed)
  const pending = new Map<bigint, OperationEvent>()
  let positions = own.committed
  try {
    for (;;) {
      const played = await player.read()
      if (played.type === 'idle') break
      if (played.type !== 'entries') throw new MalformedInput(`journal ${metadata.journalId}`, `${played.type} entry in object ${played.objectNumber}`)
      for (const { data } of played.entries) await replay(image, decode(EventEntry, data, 'journal event').event, pending)
      positions = advancePositions(positions, played.entries, metadata.splayWidth)
    }
    for (const event of pending.values()) await execute(image, event)
    if (positions === own.committed) return
    await commitPosition(metadata, IMAGE_CLIENT_ID, positions)
    await metadata.refresh()
  } finally {
    detach()
  }
}

async function replay(image: Image, event: JournalEvent, pending: Map<bigint, OperationEvent>): Promise<void> {
  switch (event.type) {
    case 'aioWrite':
      return within(image, event, (length) => writeHere(image, event.offset, event.data.subarray(0, length)))
    case 'aioWriteSame':
      return within(image, event, (length) => writeHere(image, event.offset, repeated(event.data, length)))
    case 'aioDiscard':
      return within(image, event, (length) => discardHere(image, event.offset, length))
    case 'aioCompareAndWrite':
      return within(image, event, async (length) => {
        if (length < event.length) return
        const now = await readImage(image, { offset: event.offset, length })
        if (now.equals(event.compare)) await writeHere(image, event.offset, event.data)
      })
    case 'aioFlush':
    case 'demotePromote':
      return
    case 'unknown':
      throw new MalformedInput('journal event', `type ${event.tag} is of a later release`)
    case 'opFinish': {
      const start = pending.get(event.opTid)
      pending.delete(event.opTid)
      if (start && event.result === 0) await execute(image, start)
      return
    }
    default:
      pending.set(event.opTid, event)
      // what is written next may be behind the old end
      if (event.type === 'resize' && event.size > image.header.size) await execute(image, event)
  }
}

/** What lies behind the end of the image was cut off since. */
async function within(image: Image, { offset, length }: { offset: number; length: number }, act: (length: number) => Promise<void>): Promise<void> {
  const room = Math.min(length, image.header.size - offset)
  if (room > 0) await act(room)
}

function repeated(pattern: Buffer, length: number): Buffer {
  return Buffer.alloc(length, pattern)
}

async function execute(image: Image, event: OperationEvent): Promise<void> {
  try {
    await executeOnce(image, event)
  } catch (error) {
    if (!saysDoneBefore(error, event)) throw error
  }
}

async function executeOnce(image: Image, event: OperationEvent): Promise<void> {
  switch (event.type) {
    case 'snapCreate':
      await createSnapshotHere(image, { name: event.snapName, namespace: event.snapNamespace })
      return
    case 'snapRemove':
    case 'snapProtect':
    case 'snapUnprotect':
    case 'snapRollback': {
      const find = event.type === 'snapRemove' ? findSnapshotToRemove : findSnapshotByName
      const snapshot = find(image.header, event.snapNamespace.type, event.snapName)
      return snapshot && onSnapshot[event.type](image, snapshot.id)
    }
    case 'snapRename': {
      const snapshot = findSnapshotByName(image.header, 'user', event.fromName)
      return snapshot && renameSnapshotHere(image, snapshot.id, event.toName)
    }
    case 'rename':
      return renameImageHere(image, event.imageName, { repeated: true })
    case 'resize':
      return resizeImageHere(image, { size: event.size, allowShrink: true })
    case 'flatten':
      return flattenImageHere(image)
    case 'snapLimit':
      return setSnapshotLimitHere(image, event.limit)
    case 'metadataSet':
      return setMetadataHere(image, new Map([[event.key, Buffer.from(event.value)]]))
    case 'metadataRemove':
      return removeMetadataHere(image, event.key)
    case 'updateFeatures':
      // who was at it has left an image with either its old or its new features, and its user sees which
      return
  }
}

const onSnapshot = {
  snapRemove: removeSnapshotHere,
  snapProtect: protectSnapshotHere,
  snapUnprotect: unprotectSnapshotHere,
  snapRollback: rollBackSnapshotHere,
} as const
