import { clientUpdateData } from '../../cls/journal/client.ts'
import type { Tag } from '../../cls/journal/types.ts'
import { TAG_CLASS_NEW, type Client, type ObjectPosition } from '../../cls/journal/types.ts'
import { decode, encode, zeroTime } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { commitPosition, findClient, registerClient, updateClientData } from '../../journal/clients.ts'
import { createJournal, Journal, removeJournal, type JournalOptions } from '../../journal/journal.ts'
import { journalHeaderName } from '../../journal/names.ts'
import { createTag, createTagAfter, listTags } from '../../journal/tags.ts'
import { Errno, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { writeIfUnchanged } from '../../rados/write-if-unchanged.ts'
import type { Promotion } from '../mirror/mirror-info.ts'
import { ClientData, type ImageClientMeta } from './client-data.ts'
import { EventEntry } from './events.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, TagData, type TagPredecessor } from './tag-data.ts'

/** The journal client that an image itself is (librbd::Journal::IMAGE_CLIENT_ID); all others are mirror uuids. */
export const IMAGE_CLIENT_ID = ''

/** Who owns an image, as its journal's newest tag says. */
export interface Ownership {
  tid: bigint
  data: TagData
  meta: ImageClientMeta
}

/** What a journal's tag says about who may write (librbd/mirror/GetInfoRequest.cc). */
export function promotionOfTag({ mirrorUuid }: TagData): Promotion {
  if (mirrorUuid === LOCAL_MIRROR_UUID) return { state: 'primary', primaryMirrorUuid: '' }
  if (mirrorUuid === ORPHAN_MIRROR_UUID) return { state: 'orphan', primaryMirrorUuid: '' }
  return { state: 'non-primary', primaryMirrorUuid: mirrorUuid }
}

/** Reads the ownership of an image (journal/OpenRequest.cc). ENOENT without a journal, or while it has no tag. */
export async function loadOwnership(io: IoCtx, imageId: string): Promise<Ownership> {
  const meta = imageClientMeta(await findClient(io, imageId, IMAGE_CLIENT_ID), io, imageId)
  const tags = await listTags(io, imageId, IMAGE_CLIENT_ID, meta.tagClass)
  const newest = tags.at(-1)
  if (!newest) throw notThere(io, imageId, 'find the tag of an image')
  return { tid: newest.tid, data: decodeTag(newest), meta }
}

/** The image's history in ascending order, from the epoch on that `clientId` has last committed in. */
export async function loadHistory(io: IoCtx, imageId: string, clientId: string): Promise<{ tid: bigint; data: TagData }[]> {
  const { tagClass } = imageClientMeta(await findClient(io, imageId, IMAGE_CLIENT_ID), io, imageId)
  const tags = await listTags(io, imageId, clientId, tagClass)
  return tags.map((tag) => ({ tid: tag.tid, data: decodeTag(tag) }))
}

export function decodeTag(tag: Tag): TagData {
  return decode(TagData, tag.data, `journal tag ${tag.tid}`)
}

function imageClientMeta(client: Client | undefined, io: IoCtx, imageId: string): ImageClientMeta {
  if (!client) throw notThere(io, imageId, 'find the client of an image')
  const meta = decode(ClientData, client.data, `client data of journal ${imageId}`)
  if (meta.type !== 'image') throw new MalformedInput(`client data of journal ${imageId}`, `it is of type ${meta.type}`)
  return meta
}

function notThere(io: IoCtx, imageId: string, op: string): RadosError {
  return new RadosError(Errno.ENOENT, {
    op,
    cluster: io.clusterName,
    pool: io.poolName,
    namespace: io.namespace,
    oid: journalHeaderName(imageId),
  })
}

/** An image's own journal, open to decide and to record who owns the image. */
export class ImageJournal {
  private constructor(
    private readonly io: IoCtx,
    readonly journal: Journal,
    private state: Ownership,
  ) {}

  /** ENOENT without a journal. */
  static async open(options: JournalOptions): Promise<ImageJournal> {
    const journal = await Journal.open(options)
    try {
      return new ImageJournal(options.io, journal, await loadOwnership(options.io, options.journalId))
    } catch (error) {
      await journal.close()
      throw error
    }
  }

  get ownership(): Ownership {
    return this.state
  }

  get isOwner(): boolean {
    return this.state.data.mirrorUuid === LOCAL_MIRROR_UUID
  }

  get resyncRequested(): boolean {
    return this.state.meta.resyncRequested
  }

  /** The image's own commit position, the newest first. */
  get committed(): readonly ObjectPosition[] {
    return this.journal.client(IMAGE_CLIENT_ID)?.commitPosition.objectPositions ?? []
  }

  /** Called after every reading of the journal's header: whether the ownership has changed says `refresh`. */
  subscribe(listener: () => void): () => void {
    return this.journal.metadata.subscribe(listener)
  }

  async refresh(): Promise<Ownership> {
    this.state = await loadOwnership(this.io, this.journal.metadata.journalId)
    return this.state
  }

  /** Begins an epoch of the image's history. */
  async allocateTag(data: TagData): Promise<Ownership> {
    const { tid } = await createTag(this.io, this.journal.metadata.journalId, this.state.meta.tagClass, encode(TagData, data))
    this.state = { ...this.state, tid, data }
    return this.state
  }

  /**
   * Notes an epoch of the image's history that another site has begun. Rejects with ESTALE if the ownership has changed since it was read last: a
   * promotion is never overruled.
   */
  async followTag(data: TagData): Promise<void> {
    const { tid, meta } = this.state
    const tag = await createTagAfter(this.io, this.journal.metadata.journalId, { tid, tagClass: meta.tagClass }, encode(TagData, data))
    this.state = { ...this.state, tid: tag.tid, data }
  }

  /** Asks whoever mirrors to this image to throw it away and copy it anew. */
  async requestResync(): Promise<void> {
    await this.setMeta({ ...this.state.meta, resyncRequested: true })
  }

  /** Takes the request back. */
  async resyncDone(): Promise<void> {
    await this.setMeta({ ...this.state.meta, resyncRequested: false })
  }

  /**
   * Takes back a request that was made before this site was promoted. One of an image that was demoted since then, or that is while we write, stays.
   *
   * @returns whether there was one to take back
   */
  async takeBackResync(): Promise<boolean> {
    const { metadata } = this.journal
    const takenBack = await writeIfUnchanged(this.io, metadata.oid, async (operation) => {
      const { meta } = await this.refresh()
      if (!this.isOwner || !meta.resyncRequested) return undefined
      return clientUpdateData.step(operation, { id: IMAGE_CLIENT_ID, data: encode(ClientData, { ...meta, resyncRequested: false }) })
    })
    if (!takenBack) return false
    await metadata.notify()
    await this.refresh()
    return true
  }

  /**
   * Makes this site the owner (journal/PromoteRequest.cc). `force`: peers will not be able to follow, whatever the journal says. The caller
   * holds the image's exclusive lock, here and below.
   */
  async promote(force: boolean): Promise<void> {
    const { tid, data } = this.state
    const orderly = !force && data.mirrorUuid === ORPHAN_MIRROR_UUID
    const predecessor: TagPredecessor = orderly
      ? { mirrorUuid: ORPHAN_MIRROR_UUID, commitValid: true, tagTid: tid, entryTid: 1n }
      : { mirrorUuid: LOCAL_MIRROR_UUID, commitValid: true, tagTid: tid, entryTid: 0n }
    await this.changeOwner({ mirrorUuid: LOCAL_MIRROR_UUID, predecessor })
  }

  /** Gives up ownership: nobody may write until a site promotes itself (journal/DemoteRequest.cc). EINVAL when it is not the owner. */
  async demote(): Promise<void> {
    if (!this.isOwner) throw new RadosError(Errno.EINVAL, { op: 'demote an image that is not primary', oid: this.journal.metadata.oid })
    const [newest] = this.committed
    await this.changeOwner({
      mirrorUuid: ORPHAN_MIRROR_UUID,
      predecessor: {
        mirrorUuid: LOCAL_MIRROR_UUID,
        commitValid: newest !== undefined,
        tagTid: newest?.tagTid ?? 0n,
        entryTid: newest?.entryTid ?? 0n,
      },
    })
  }

  /** Whether this site has given up ownership, and not lived to tell those who replay. */
  async isDemotionUntold(): Promise<boolean> {
    const { tid, data } = this.state
    if (data.mirrorUuid !== ORPHAN_MIRROR_UUID || data.predecessor.mirrorUuid !== LOCAL_MIRROR_UUID) return false
    for await (const { tagTid } of this.journal.entriesOfSet(this.journal.metadata.activeSet)) if (tagTid === tid) return false
    return true
  }

  /** The second half of a demotion. */
  tellDemotion(): Promise<void> {
    return this.tellChange(this.state.tid)
  }

  async close(): Promise<void> {
    await this.journal.close()
  }

  /** A change of owner is an epoch, and an event in it that tells whoever replays. */
  private async changeOwner(data: TagData): Promise<void> {
    const { tid } = await this.allocateTag(data)
    await this.tellChange(tid)
  }

  private async tellChange(tid: bigint): Promise<void> {
    const event = encode(EventEntry, { event: { type: 'demotePromote' }, timestamp: zeroTime })
    const position = await this.journal.record(tid).append(event)
    const { splayWidth } = this.journal.metadata
    const others = this.committed.filter(({ objectNumber }) => (objectNumber - position.objectNumber) % splayWidth !== 0)
    await commitPosition(this.journal.metadata, IMAGE_CLIENT_ID, [position, ...others])
    // a daemon that follows has to stop: it is told before anybody goes
    await this.journal.metadata.notify()
    await this.journal.metadata.refresh()
  }

  private async setMeta(meta: ImageClientMeta): Promise<void> {
    await updateClientData(this.journal.metadata, IMAGE_CLIENT_ID, encode(ClientData, meta))
    this.state = { ...this.state, meta }
  }
}

export interface CreateImageJournalOptions {
  /** log2 of the data objects' size, their number side by side, their pool (-1: the header's) */
  layout?: { order?: number; splayWidth?: number; poolId?: bigint }
  /** who owns the image */
  mirrorUuid: string
}

const noPredecessor: TagPredecessor = { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n }

/**
 * Gives an image a journal with its first tag (journal/CreateRequest.cc). What a failed attempt left is removed first: the image must not have the
 * journaling feature yet.
 */
export async function createImageJournal(options: JournalOptions, { layout, mirrorUuid }: CreateImageJournalOptions): Promise<void> {
  const { io, journalId } = options
  await removeJournal(options)
  await createJournal(io, journalId, layout)
  const tag = await createTag(io, journalId, TAG_CLASS_NEW, encode(TagData, { mirrorUuid, predecessor: noPredecessor }))
  const journal = await Journal.open(options)
  try {
    const meta: ImageClientMeta = { type: 'image', tagClass: tag.tagClass, resyncRequested: false }
    await registerClient(journal.metadata, IMAGE_CLIENT_ID, encode(ClientData, meta))
  } finally {
    await journal.close()
  }
}
