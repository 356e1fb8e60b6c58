import { findClient, registerClient, unregisterClient } from '../../journal/clients.ts'
import type { Image } from '../../rbd/image.ts'
import type { ImageJournal } from '../../rbd/journal/image-journal.ts'
import type { ImageContext } from '../image-context.ts'
import { JournalImageSync, removeSyncPointSnapshots } from '../journal/image-sync.ts'
import type { RemoteClient } from '../journal/remote-client.ts'
import { describing } from '../snapshot/image-sync.ts'
import { dropGivenUp, keepGivenUp } from './snapshots.ts'

/**
 * Makes an existing replica of journal mode equal to its primary again, by what differs. The request in the local journal stays until all is done, so
 * that a run that is cut short is begun again:
 *
 *     [what is given up is kept] → our client of the remote journal anew, as syncing → local epoch belongs to the remote → the remote's client of the
 *       local journal anew → comparing image sync → client `replaying` → request taken back
 *
 * The exclusive lock of the local image is held by the caller.
 */
export class JournalResync {
  /** the request is being dealt with */
  running = true

  constructor(
    private readonly context: ImageContext,
    private readonly local: Image,
    private readonly localJournal: ImageJournal,
    private readonly remote: Image,
    private readonly client: RemoteClient,
    /** whether an earlier run has come as far as the image sync */
    private readonly begun: boolean,
  ) {}

  /** Rejects with SyncFailure, or the signal's reason. */
  async run(signal: AbortSignal): Promise<void> {
    const { context, local, remote, client, localJournal } = this
    if (!this.begun) await this.begin(signal)
    await new JournalImageSync(context, local, remote, client, { compares: true }).run(signal)
    await describing('failed to finish resync', async () => {
      await local.lock!.use(() => dropGivenUp(local, context.options.resyncKeepSnapshot))
      await localJournal.resyncDone()
    })
    this.running = false
  }

  private async begin(signal: AbortSignal): Promise<void> {
    const { context, local, remote, client, localJournal } = this
    if (context.options.resyncKeepSnapshot) {
      await describing('failed to keep what the resync gives up', () => local.lock!.use(() => keepGivenUp(local)))
    }
    await describing('failed to update client data', async () => {
      await removeSyncPointSnapshots(remote, context.local.mirrorUuid, signal)
      await client.startOver(local.id)
    })
    await describing('failed to allocate journal tag', () => localJournal.allocateTag({ mirrorUuid: context.remote.mirrorUuid, predecessor: NONE }))
    await describing('failed to update client data', () => this.forgetReader())
  }

  /** Whoever followed the local image would, after the next change of roles, replay what is given up now: it begins anew as well. */
  private async forgetReader(): Promise<void> {
    const { metadata } = this.localJournal.journal
    const { mirrorUuid } = this.context.remote
    const reader = await findClient(metadata.io, metadata.journalId, mirrorUuid)
    if (!reader) return
    await unregisterClient(metadata, mirrorUuid)
    await registerClient(metadata, mirrorUuid, reader.data)
  }
}

const NONE = { mirrorUuid: '', commitValid: false, tagTid: 0n, entryTid: 0n }
