import { throttledUntil } from '../../base/throttle.ts'
import type { ObjectPosition } from '../../cls/journal/types.ts'
import { commitPosition } from '../../journal/clients.ts'
import { Journal, type JournalOptions } from '../../journal/journal.ts'
import { getTag } from '../../journal/tags.ts'
import { Errno, ifThere } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { generateImageId } from '../../rbd/create-image.ts'
import { loadHeader } from '../../rbd/header.ts'
import { Image, type ImageOptions } from '../../rbd/image.ts'
import { createImageJournal, decodeTag, IMAGE_CLIENT_ID, ImageJournal, loadHistory, loadOwnership } from '../../rbd/journal/image-journal.ts'
import { guestLockPolicy, type LockPolicy } from '../../rbd/lock-policy.ts'
import { notifyMirroring } from '../../rbd/mirror/mirroring-notify.ts'
import { createLocalImage } from '../bootstrap/create-local-image.ts'
import type { ImageContext, LocalSide } from '../image-context.ts'
import type { BootstrapEnd, ReplayEnd } from '../replayer.ts'
import { describing } from '../snapshot/image-sync.ts'
import { JournalResync } from '../resync/journal-resync.ts'
import { lacksParent, requireLocalParent } from '../resync/parents.ts'
import { journalSplitBrain } from '../split-brain/journal-cause.ts'
import { decideReplay, type JournalObservation } from './decide-replay.ts'
import { findUnwrittenEpochs } from './empty-epochs.ts'
import { EventApplier } from './event-applier.ts'
import { loadImageSettings } from './image-settings.ts'
import { JournalImageSync, removeSyncPoints, removeSyncPointSnapshots } from './image-sync.ts'
import { readerOf, RemoteClient } from './remote-client.ts'
import { JournalReplayer, type JournalReplay } from './replayer.ts'
import { followsDemotion, type NumberedTag } from './tag-chain.ts'
import { WindowWriter } from './window-writer.ts'

/** What is known of an image when its journals are opened; without a local image it is to be made. */
export interface JournalTarget {
  remoteImageId: string
  localImageId: string | undefined
}

/** Everything that was opened, to be closed if nothing comes of it. */
interface Opened {
  remoteJournal?: Journal
  remote?: Image
  local?: Image
  localJournal?: ImageJournal
}

/**
 * Prepares the replay of a journal-mode image (image_replayer/{PrepareRemoteImage,BootstrapRequest}.cc, journal/*.cc):
 *
 *     remote journal → our client → [client anew, local image made] → local image and journal → decide ─┬─ an end
 *                                                                                                       ├─ sync, then replay
 *                                                                                                       └─ replay
 */
export async function openJournalReplay(context: ImageContext, target: JournalTarget, signal: AbortSignal): Promise<BootstrapEnd> {
  const opened: Opened = {}
  try {
    return await prepare(context, target, opened, signal)
  } catch (error) {
    await closeAll(context, opened)
    throw error
  }
}

async function prepare(context: ImageContext, target: JournalTarget, opened: Opened, signal: AbortSignal): Promise<BootstrapEnd> {
  const { remote } = context
  const remoteJournal = await describing('error initializing remote journal', () => Journal.open(journalOptions(context, remote, target.remoteImageId)))
  opened.remoteJournal = remoteJournal
  const client = await describing('error retrieving remote journal client', async () =>
    RemoteClient.of(remoteJournal, context.local.mirrorUuid, target.localImageId ?? ''),
  )
  const openRemote = () =>
    describing('failed to open remote image', () => openImage(context, remote, target.remoteImageId, guestLockPolicy, signal))
  let localImageId = target.localImageId
  if (localImageId === undefined) {
    const source = (opened.remote = await openRemote())
    localImageId = await describing('failed to create local image', () => createLocal(context, source, client, signal))
  }
  const id = localImageId
  const policy = replicaPolicy(async () => {
    const journal = opened.localJournal
    if (!journal || journal.isOwner) return true
    // who asks may know more than we do
    try {
      await journal.journal.metadata.refresh()
      await journal.refresh()
      return journal.isOwner
    } catch (error) {
      context.log.debug({ err: error }, 'local journal not read')
      return false
    }
  })
  const openingImage = describing('failed to open local image', () => openImage(context, context.local, id, policy, signal)).then(
    (image) => (opened.local = image),
  )
  const openingJournal = describing('error accessing local journal', () => ImageJournal.open(journalOptions(context, context.local, id))).then(
    (journal) => (opened.localJournal = journal),
  )
  await Promise.allSettled([openingImage, openingJournal])
  const [local, localJournal] = [await openingImage, await openingJournal]
  const { owner: remoteOwner, tags: remoteTags } = await describing('failed to retrieve remote tag', async () => ({
    owner: await loadOwnership(remote.io, target.remoteImageId),
    tags: await loadRemoteTags(remote.io, target.remoteImageId, client.isNew ? IMAGE_CLIENT_ID : context.local.mirrorUuid),
  }))
  const settings = await describing('failed to open local image', () => loadImageSettings(local, context.options))
  const observation: JournalObservation = {
    localImageId: id,
    remoteImageId: target.remoteImageId,
    localTag: localJournal.ownership,
    resyncRequested: localJournal.resyncRequested,
    client,
    reader: remoteOwner.meta.resyncRequested ? undefined : readerOf(localJournal.journal.client(remote.mirrorUuid)),
    remoteTags,
    sites: { localMirrorUuid: context.local.mirrorUuid, remoteMirrorUuid: remote.mirrorUuid },
    resyncAfterDisconnect: settings.resyncAfterDisconnect,
    resyncMode: context.options.resyncMode,
  }
  let decision = decideReplay(observation)
  if (decision.type === 'end' && (decision.end.type === 'splitBrain' || decision.end.type === 'remoteNotPrimary')) {
    const unwritten = await describing('error accessing local journal', () => findUnwrittenEpochs(localJournal))
    decision = decideReplay({ ...observation, earlierTags: unwritten.tags })
    if (decision.type === 'replay' && decision.readerHasAll) {
      await describing('error accessing local journal', () => noteReaderHasAll(localJournal, unwritten.committed, observation))
    }
  }
  context.log.debug({ decision: decision.type, ...(decision.type === 'end' && { end: decision.end.type }) }, 'journal replay decided')
  if (decision.type === 'end' && decision.end.type === 'splitBrain') {
    const ours = { tags: [localJournal.ownership], committed: localJournal.committed }
    const theirs = { tags: remoteTags, committed: remoteJournal.client(IMAGE_CLIENT_ID)?.commitPosition.objectPositions ?? [] }
    return giveUp(context, opened, { type: 'splitBrain', reason: journalSplitBrain(decision.end.reason, ours, theirs) })
  }
  const requireParent = () =>
    describing('failed to prepare resync', async () => requireLocalParent(context, await loadHeader(remote.io, target.remoteImageId, { access: 'read-only' })))
  if (decision.type === 'end') {
    if (decision.end.type === 'resyncRequested') await requireParent()
    return giveUp(context, opened, decision.end)
  }
  if (decision.type === 'replay' && decision.markReplaying) await client.update({ state: 'replaying' })
  const writer = new WindowWriter(local, context.limits.byteBudget, context.throttle && throttledUntil(context.throttle, signal))
  const applier = new EventApplier(local, writer, { localId: (remoteId) => client.meta.snapSeqs.get(remoteId) }, journalSwitch(context))
  let sync: JournalReplay['sync']
  if (decision.type === 'sync') {
    const image = (opened.remote ??= await openRemote())
    sync = { image, copy: new JournalImageSync(context, local, image, client) }
  } else if (decision.type === 'resync') {
    const image = (opened.remote ??= await openRemote())
    if (lacksParent(local.header, image.header)) {
      await requireParent()
      return giveUp(context, opened, { type: 'resyncRequested' })
    }
    // noted also where nobody asked: whoever goes on with it has to know
    if (!localJournal.resyncRequested) await describing('failed to update client data', () => localJournal.requestResync())
    sync = { image, copy: new JournalResync(context, local, localJournal, image, client, decision.begun) }
  } else if (client.meta.syncPoints.length > 0) {
    // an earlier run ended between the copy and this
    const image = (opened.remote = await openRemote())
    await describing('failed to remove sync point', () => removeSyncPoints(image, context.local.mirrorUuid, client, signal))
    await image.close()
  }
  const replayer = new JournalReplayer(context, {
    local,
    localJournal,
    remoteJournal,
    client,
    applier,
    sync,
    settings,
  })
  return { type: 'replay', replayer }
}

/** A promotion's own demotion is asked for as well: the list for a client that has come later leaves it out. */
async function loadRemoteTags(io: IoCtx, imageId: string, clientId: string): Promise<NumberedTag[]> {
  const tags = await loadHistory(io, imageId, clientId)
  const tid = tags[0] && followsDemotion(tags[0].data)
  const demotion = tid === undefined ? undefined : await ifThere(getTag(io, imageId, tid))
  return demotion ? [{ tid: demotion.tid, data: decodeTag(demotion) }, ...tags] : tags
}

/** After the next change of roles the remote must not replay epochs that it never knew, and has moved on from since. */
async function noteReaderHasAll({ journal }: ImageJournal, committed: readonly ObjectPosition[], { reader, remoteImageId, sites }: JournalObservation): Promise<void> {
  if (reader?.imageId !== remoteImageId || !reader.replaying) return
  await commitPosition(journal.metadata, sites.remoteMirrorUuid, committed)
}

/**
 * Makes the local image. The client is registered with its id first, and as syncing: from then on nothing that the copy may miss is trimmed
 * from the remote journal.
 */
async function createLocal(context: ImageContext, source: Image, client: RemoteClient, signal: AbortSignal): Promise<string> {
  const { local, remote, globalImageId, random, log } = context
  const imageId = generateImageId(local.cluster.instanceId, random)
  // of a copy that came to nothing
  await removeSyncPointSnapshots(source, local.mirrorUuid, signal)
  await client.startOver(imageId)
  await createLocalImage(context, source, 'journal', {
    imageId,
    createJournal: () => createImageJournal(journalOptions(context, local, imageId), { mirrorUuid: remote.mirrorUuid, layout: journalLayout(context) }),
  })
  await notifyMirroring(local.io, { type: 'imageUpdated', state: 'enabled', imageId, globalImageId }, log)
  return imageId
}

/**
 * What the owner of a journal-mode replica's lock answers (image_replayer/OpenLocalImageRequest.cc): it keeps the lock, unless this site was
 * promoted by force.
 */
function replicaPolicy(mayRelease: () => Promise<boolean>): LockPolicy {
  return {
    lockRequested: async () => ((await mayRelease()) ? 'release' : Errno.EROFS),
    operationRequested: (type) => (type === 'general' ? Errno.EROFS : 'accept'),
  }
}

function journalSwitch(context: ImageContext) {
  return {
    create: (image: Image) =>
      createImageJournal(journalOptions(context, context.local, image.id), {
        mirrorUuid: context.remote.mirrorUuid,
        layout: journalLayout(context),
      }),
    // the replica is not mirrored without it: whoever disables mirroring removes image or journal
    remove: async () => undefined,
  }
}

function journalLayout({ local }: ImageContext): { order?: number; splayWidth?: number } {
  const number = (name: string) => {
    const value = Number(local.cluster.option(name) ?? NaN)
    return Number.isInteger(value) && value > 0 ? value : undefined
  }
  const order = number('rbd_journal_order')
  const splayWidth = number('rbd_journal_splay_width')
  return { ...(order !== undefined && { order }), ...(splayWidth !== undefined && { splayWidth }) }
}

function journalOptions({ clock, log }: ImageContext, { cluster, io }: LocalSide, imageId: string): JournalOptions {
  return { io, journalId: imageId, openPool: (id) => cluster.openPoolById(id), clock, log }
}

function openImage(context: ImageContext, { cluster, io }: LocalSide, id: string, lockPolicy: LockPolicy, signal: AbortSignal): Promise<Image> {
  const { clock, random, log } = context
  const options: ImageOptions = { cluster, access: 'write', clock, random, log: log.child({ cluster: cluster.name }), lockPolicy, signal }
  return Image.open(io, { id }, options)
}

async function giveUp(context: ImageContext, opened: Opened, end: ReplayEnd): Promise<ReplayEnd> {
  await closeAll(context, opened)
  return end
}

async function closeAll({ log }: ImageContext, { local, localJournal, remote, remoteJournal }: Opened): Promise<void> {
  for (const it of [local, localJournal, remote, remoteJournal]) {
    await it?.close().catch((error: unknown) => log.debug({ err: error }, 'not closed cleanly'))
  }
}

