import { abortable, isCancelled } from '../../base/cancelled.ts'
import { dirGetName } from '../../cls/rbd/client.ts'
import { mirrorImageGet, mirrorImageGetImageId } from '../../cls/rbd/mirror-client.ts'
import type { MirrorImageState } from '../../cls/rbd/mirror-types.ts'
import { Errno, ifThere, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { Image } from '../../rbd/image.ts'
import { guestLockPolicy, type LockPolicy } from '../../rbd/lock-policy.ts'
import { loadMirrorInfo } from '../../rbd/mirror/mirror-info.ts'
import { headerName, RBD_DIRECTORY, RBD_MIRRORING } from '../../rbd/names.ts'
import type { ImageContext, LocalSide } from '../image-context.ts'
import { openJournalReplay } from '../journal/open.ts'
import { RemoteClient } from '../journal/remote-client.ts'
import type { Bootstrap, BootstrapEnd, ReplayEnd } from '../replayer.ts'
import { isResyncRequested, takeBackResync } from '../resync/requested.ts'
import { describing, SyncFailure } from '../snapshot/image-sync.ts'
import { endOfFailure, replicaPolicy, SnapshotReplayer } from '../snapshot/replayer.ts'
import { isThrownAway } from '../trash-operations.ts'
import { createLocalImage } from './create-local-image.ts'
import { explainContradiction, type Site } from './contradiction.ts'
import { decideBootstrap, type BootstrapDecision, type ObservedImage } from './decide.ts'

/**
 *     both sides' mirror image by global id → decide ─┬─ an end
 *                                                     ├─ open both ──────────────────────────────┬─ replay
 *                                                     └─ open remote → create local → open local ┘
 */
export const bootstrap: Bootstrap = async (context, signal) => {
  try {
    const [local, remote] = await Promise.all([
      describing('error preparing local image for replay', () => observeLocal(context.local, context.globalImageId, signal)),
      describing('error preparing remote image for replay', () => observeRemote(context.remote, context.globalImageId, signal)),
    ])
    const { mirrorUuid: remoteMirrorUuid, mirrorPeerUuid } = context.remote
    const decision = decideBootstrap({ local, remote, remoteMirrorUuid, linkedPeer: mirrorPeerUuid !== '' })
    context.log.debug({ decision: decision.type, ...(decision.type === 'end' && { end: decision.end.type }) }, 'bootstrap decided')
    const ended = decision.type === 'end' ? decision.end : await open(context, decision, signal)
    if (ended.type === 'remoteGone' && !(await abortable(hasRecord(context.remote.io), signal))) {
      return { type: 'transient', reason: 'remote pool has no record of mirroring' }
    }
    const resync = isObserved(local) && decision.type === 'end' && (await endWhileResyncRequested(context, decision.end, local))
    if (resync) return resync
    if (isObserved(local) && ended.type === 'localPrimary') await describing('error preparing local image for replay', () => takeBackResync(context, local))
    if (isObserved(local) && isObserved(remote) && mayBeFollowedLater(local, remote, ended)) {
      await describing('error preparing remote image for replay', () =>
        RemoteClient.ensureRegistered(context.remote.io, remote.imageId, context.local.mirrorUuid, local.imageId),
      )
    }
    return ended
  } catch (error) {
    if (isCancelled(error)) throw error
    return endOfFailure(error)
  }
}

function isObserved(image: ObservedImage | string | undefined): image is ObservedImage {
  return typeof image === 'object'
}

/** In journal mode, an image that was not replicated from there yet, and will be once the other site is promoted. */
function mayBeFollowedLater(local: ObservedImage, remote: ObservedImage, ended: BootstrapEnd): boolean {
  if (local.info.image.mode !== 'journal' || remote.info.image.mode !== 'journal') return false
  return ended.type === 'localPrimary' || (ended.type === 'remoteNotPrimary' && local.info.promotion.state === 'orphan')
}

/** Ends that mean something else while a resync of the local image is asked for. */
async function endWhileResyncRequested({ local: side }: ImageContext, end: ReplayEnd, local: ObservedImage): Promise<ReplayEnd | undefined> {
  if (end.type !== 'remoteNotPrimary' && end.type !== 'modesDiffer') return undefined
  const requested = await describing('error preparing local image for replay', () => isResyncRequested(side, local))
  if (!requested) return undefined
  // an image of the other mode can't become one of this mode
  return end.type === 'modesDiffer' && end.remotePrimary ? { type: 'resyncRequested' } : { type: 'resyncWaits', for: 'primary' }
}

/** What is left of an image on its way out of mirroring is no contradiction. */
async function observeLocal(side: LocalSide, globalImageId: string, signal: AbortSignal): Promise<ObservedImage | 'remains' | undefined> {
  const imageId = await ifThere(mirrorImageGetImageId.call(side.io, RBD_MIRRORING, { globalImageId }, { signal }))
  if (imageId === undefined) return undefined
  if (await isThrownAway(side.io, imageId)) return 'remains'
  try {
    return await observe('local', side, globalImageId, signal)
  } catch (error) {
    const cause = error instanceof SyncFailure ? error.cause : error
    if (!isErrno(cause, Errno.ENOENT) || !(await isEntryOfNothing(side.io, imageId, signal))) throw error
    return 'remains'
  }
}

async function observeRemote(side: LocalSide, globalImageId: string, signal: AbortSignal): Promise<ObservedImage | 'disabling' | undefined> {
  const observed = await observe('remote', side, globalImageId, signal)
  if (observed) return observed
  const imageId = await ifThere(mirrorImageGetImageId.call(side.io, RBD_MIRRORING, { globalImageId }, { signal }))
  return imageId !== undefined && (await entryState(side.io, imageId, signal)) === 'disabling' ? 'disabling' : undefined
}

/** Whether an entry is on its way out, and there is no image at all. */
async function isEntryOfNothing(io: IoCtx, imageId: string, signal: AbortSignal): Promise<boolean> {
  if ((await entryState(io, imageId, signal)) !== 'disabling') return false
  const name = await ifThere(dirGetName.call(io, RBD_DIRECTORY, { id: imageId }, { signal }))
  return name === undefined && (await ifThere(io.stat(headerName(imageId)))) === undefined
}

async function observe(site: Site, { io }: LocalSide, globalImageId: string, signal: AbortSignal): Promise<ObservedImage | undefined> {
  let imageId: string | undefined
  try {
    imageId = await mirrorImageGetImageId.call(io, RBD_MIRRORING, { globalImageId }, { signal })
    return { imageId, info: await loadMirrorInfo(io, imageId, { signal }) }
  } catch (error) {
    // a mirrored image whose header or journal is lost is damaged, not removed: the other side may be all that is left of it
    const explained = imageId === undefined ? undefined : await explainContradiction(site, io, { imageId, globalImageId }, error)
    if (!isErrno(error, Errno.ENOENT)) throw explained ?? error
    const state = imageId === undefined ? undefined : await entryState(io, imageId, signal)
    // a new replica can't be made beside what a disabling has left behind
    if (state === 'enabled' || (state === 'disabling' && site === 'local')) throw explained ?? error
    return undefined
  }
}

async function entryState(io: IoCtx, imageId: string, signal: AbortSignal): Promise<MirrorImageState | undefined> {
  try {
    return (await mirrorImageGet.call(io, RBD_MIRRORING, { imageId }, { signal })).state
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Whether there is a record of mirroring at all: without it (a deleted pool, say) nothing follows from an image not being in it. */
async function hasRecord(io: IoCtx): Promise<boolean> {
  try {
    await io.stat(RBD_MIRRORING)
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}

type Opening = Exclude<BootstrapDecision, { type: 'end' }>

async function open(context: ImageContext, decision: Opening, signal: AbortSignal): Promise<BootstrapEnd> {
  if (decision.mode === 'journal') {
    const localImageId = decision.type === 'open' ? decision.localImageId : undefined
    return openJournalReplay(context, { remoteImageId: decision.remoteImageId, localImageId }, signal)
  }
  if (context.remote.mirrorPeerUuid === '') {
    return { type: 'transient', reason: 'failed to retrieve mirror peer uuid from remote pool' }
  }
  const holder: { replayer?: SnapshotReplayer } = {}
  const policy = replicaPolicy(() => holder.replayer?.lockTaken())
  const opened = { remote: undefined as Image | undefined, local: undefined as Image | undefined }
  try {
    const remote = describing('failed to open remote image', () =>
      openImage(context, context.remote, decision.remoteImageId, guestLockPolicy, signal),
    ).then((image) => (opened.remote = image))
    const create = async () => {
      const source = await remote
      return describing('failed to create local image', () => createLocalImage(context, source, decision.mode))
    }
    const local = (decision.type === 'open' ? Promise.resolve(decision.localImageId) : create()).then((id) =>
      describing('failed to open local image', () => openImage(context, context.local, id, policy, signal)).then((image) => (opened.local = image)),
    )
    await Promise.allSettled([remote, local])
    const replayer = new SnapshotReplayer(context, await local, await remote)
    holder.replayer = replayer
    return { type: 'replay', replayer }
  } catch (error) {
    await opened.local?.close().catch((closing: unknown) => context.log.debug({ err: closing }, 'local image not closed cleanly'))
    await opened.remote?.close().catch((closing: unknown) => context.log.debug({ err: closing }, 'remote image not closed cleanly'))
    throw error
  }
}

function openImage(
  { clock, random, log }: ImageContext,
  { cluster, io }: { cluster: LocalSide['cluster']; io: IoCtx },
  id: string,
  lockPolicy: LockPolicy,
  signal: AbortSignal,
): Promise<Image> {
  return Image.open(io, { id }, { cluster, access: 'write', clock, random, log: log.child({ cluster: cluster.name }), lockPolicy, signal })
}
