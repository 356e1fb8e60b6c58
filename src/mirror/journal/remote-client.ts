import type { Client, ClientState, ObjectPosition } from '../../cls/journal/types.ts'
import { decode, encode } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { clientRegister } from '../../cls/journal/client.ts'
import { commitPosition, findClient, registerClient, unregisterClient, updateClientData } from '../../journal/clients.ts'
import type { Journal } from '../../journal/journal.ts'
import { journalHeaderName } from '../../journal/names.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { ClientData, type MirrorPeerClientMeta } from '../../rbd/journal/client-data.ts'
import { IMAGE_CLIENT_ID, loadOwnership } from '../../rbd/journal/image-journal.ts'
import { isDemotionHere, type Reader } from './tag-chain.ts'

/**
 * This site as a client of the remote image's journal: its id is the local mirror uuid. As long as it is registered and connected, nothing that
 * it has not committed is trimmed.
 */
export class RemoteClient {
  private constructor(
    private readonly journal: Journal,
    private readonly id: string,
    private current: MirrorPeerClientMeta,
    private unknown: boolean,
  ) {}

  /**
   * The client as it is registered. One that is not stays so until `startOver`: from its registration on nobody could tell that the journal had lost
   * entries before. `localImageId` is '' without a local image.
   */
  static of(journal: Journal, localMirrorUuid: string, localImageId: string): RemoteClient {
    const registered = journal.client(localMirrorUuid)
    if (registered) return new RemoteClient(journal, localMirrorUuid, decodeMeta(registered), false)
    return new RemoteClient(journal, localMirrorUuid, metaOf(localImageId, 'replaying'), true)
  }

  /**
   * Registers this site with the journal of an image that may become the primary of the local one, so that the epochs from then on are still there
   * to be followed. Nothing happens without a journal, nor with one whose image was demoted there: that this site has replayed the demotion is read
   * from its commit position, which a registration gives it untruly.
   */
  static async ensureRegistered(io: IoCtx, remoteImageId: string, localMirrorUuid: string, localImageId: string): Promise<void> {
    try {
      if (await findClient(io, remoteImageId, localMirrorUuid)) return
      if (isDemotionHere((await loadOwnership(io, remoteImageId)).data)) return
      const data = encode(ClientData, metaOf(localImageId, 'replaying'))
      await clientRegister.call(io, journalHeaderName(remoteImageId), { id: localMirrorUuid, data })
    } catch (error) {
      if (!isErrno(error, Errno.ENOENT, Errno.EEXIST)) throw error
    }
  }

  /** The journal does not know this site: what was written until now may be trimmed already, unless a copy brings it. */
  get isNew(): boolean {
    return this.unknown
  }

  get meta(): MirrorPeerClientMeta {
    return this.current
  }

  /** As the journal's header said when it was read last; `undefined` when somebody has unregistered it. */
  get state(): ClientState | undefined {
    return this.journal.client(this.id)?.state
  }

  /** The newest first; what the journal's header said when it was read last. */
  get committed(): readonly ObjectPosition[] {
    return this.journal.client(this.id)?.commitPosition.objectPositions ?? []
  }

  /** Rejects with ENOENT when the client is no longer registered. */
  async update(change: Partial<MirrorPeerClientMeta>): Promise<void> {
    const meta = { ...this.current, ...change }
    await updateClientData(this.journal.metadata, this.id, encode(ClientData, meta))
    this.current = meta
  }

  async commit(positions: readonly ObjectPosition[]): Promise<void> {
    await commitPosition(this.journal.metadata, this.id, positions)
  }

  /** Takes what the image's own client has committed for done, which any later snapshot of the image has. */
  async commitAsImage(): Promise<void> {
    await this.journal.metadata.refresh()
    const positions = this.journal.client(IMAGE_CLIENT_ID)?.commitPosition.objectPositions ?? []
    if (positions.length === 0) return
    await this.commit(positions)
    await this.journal.metadata.refresh()
  }

  /** Begins anew, for a local image that is to be made and copied (journal/CreateLocalImageRequest.cc). */
  async startOver(localImageId: string): Promise<void> {
    this.unknown = false
    await unregisterClient(this.journal.metadata, this.id)
    this.current = metaOf(localImageId, 'syncing')
    await this.register()
  }

  private async register(): Promise<void> {
    await registerClient(this.journal.metadata, this.id, encode(ClientData, this.current))
    await this.journal.metadata.refresh()
    if (!this.journal.client(this.id)) throw new RadosError(Errno.ENOENT, { op: 'register with the remote journal', oid: this.journal.metadata.oid })
  }
}

function metaOf(imageId: string, state: MirrorPeerClientMeta['state']): MirrorPeerClientMeta {
  return { type: 'mirrorPeer', imageId, state, syncObjectCount: 0, syncPoints: [], snapSeqs: new Map() }
}

/** What a journal says of a mirror peer that reads it. */
export function readerOf(client: Client | undefined): Reader | undefined {
  if (!client) return undefined
  const { imageId, state } = decodeMeta(client)
  return { imageId, replaying: state === 'replaying', committedTag: client.commitPosition.objectPositions[0]?.tagTid }
}

function decodeMeta({ id, data }: Client): MirrorPeerClientMeta {
  const what = `data of remote journal client ${id}`
  const meta = decode(ClientData, data, what)
  if (meta.type !== 'mirrorPeer') throw new MalformedInput(what, `it is of type ${meta.type}`)
  return meta
}
