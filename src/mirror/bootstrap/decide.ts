import type { MirrorImageMode } from '../../cls/rbd/mirror-types.ts'
import type { SnapshotMirrorInfo } from '../../rbd/mirror/mirror-info.ts'
import type { ReplayEnd } from '../replayer.ts'

/** The mirror image with the wanted global id on one side. */
export interface ObservedImage {
  imageId: string
  info: SnapshotMirrorInfo
}

export interface BootstrapObservation {
  /** `remains`: the image is in the trash, or gone, and its entry has to follow */
  local: ObservedImage | 'remains' | undefined
  /** `disabling`: its entry is on its way out, and not much more is there */
  remote: ObservedImage | 'disabling' | undefined
  remoteMirrorUuid: string
  /** whether the remote has us in its list of peers */
  linkedPeer: boolean
}

export type BootstrapDecision =
  | { type: 'end'; end: ReplayEnd }
  /** Make the local image, then replay. */
  | { type: 'create'; remoteImageId: string; mode: MirrorImageMode }
  | { type: 'open'; localImageId: string; remoteImageId: string; mode: MirrorImageMode }

const REMOTE_DISABLING = 'remote image mirroring is being disabled; where that was cut short, go on with it there: rbd mirror image disable'

function end(value: ReplayEnd): BootstrapDecision {
  return { type: 'end', end: value }
}

/**
 * What to do with an image, from what both sides say of it (tools/rbd_mirror/image_replayer/{BootstrapRequest,PrepareLocalImageRequest,
 * PrepareRemoteImageRequest}.cc). A local image is deleted (`remoteGone`) only if it is a replica of exactly this remote.
 */
export function decideBootstrap(observation: BootstrapObservation): BootstrapDecision {
  const { local, remote, remoteMirrorUuid, linkedPeer } = observation
  if (local === 'remains' || local?.info.image.state === 'creating') return end({ type: 'localIncomplete' })
  if (local?.info.image.state === 'disabling') return end({ type: 'transient', reason: 'local image mirroring is being disabled' })
  if (local?.info.promotion.state === 'primary') return end({ type: 'localPrimary' })

  const isReplica = local?.info.promotion.state === 'non-primary'
  const beingPromoted = isReplica && local.info.promotion.primaryMirrorUuid === ''
  // in journal mode it is the journal's client that links them
  const linked = linkedPeer || local?.info.image.mode === 'journal'
  const followsRemote = isReplica && linked && local.info.promotion.primaryMirrorUuid === remoteMirrorUuid

  // a forced promotion waits until nobody has the image open
  if (local?.info.image.mode === 'snapshot' && beingPromoted) return end({ type: 'orphan' })

  if (!remote || remote === 'disabling' || remote.info.image.state === 'disabling') {
    if (!local) return end(remote ? { type: 'transient', reason: REMOTE_DISABLING } : { type: 'imageGone' })
    if (followsRemote) return end({ type: 'remoteGone', localImageId: local.imageId })
    return end({ type: 'failed', description: 'remote image does not exist', error: undefined })
  }
  const { mode } = remote.info.image
  if (local && local.info.image.mode !== mode) {
    return end({ type: 'modesDiffer', local: local.info.image.mode, remote: mode, remotePrimary: remote.info.promotion.state === 'primary' })
  }
  // the primary may have been promoted, written and demoted again since the demotion that was replayed: its journal tells
  const bothDemoted = mode === 'journal' && local?.info.promotion.state === 'orphan' && remote.info.promotion.state === 'orphan'
  // a replica follows its primary through a demotion
  if (remote.info.promotion.state !== 'primary' && !followsRemote && !bothDemoted) return end({ type: 'remoteNotPrimary' })
  if (!local) return { type: 'create', remoteImageId: remote.imageId, mode }
  return { type: 'open', localImageId: local.imageId, remoteImageId: remote.imageId, mode }
}
