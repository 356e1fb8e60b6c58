import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData, type TagPredecessor } from '../../rbd/journal/tag-data.ts'

/** Mirror uuids of the two clusters: `''` in a tag is the cluster whose journal it stands in. */
export interface Sites {
  localMirrorUuid: string
  remoteMirrorUuid: string
}

export interface RemoteTag {
  tid: bigint
  data: TagData
}

/** Whether replay may go on where the local journal's newest tag says it ended. */
export type TagLink = { type: 'linked' } | { type: 'splitBrain'; reason: string }

/** The remote's name for a tag's owner, as the local journal has to write it. */
function ownerSeenLocally(mirrorUuid: string, sites: Sites): string {
  if (mirrorUuid === LOCAL_MIRROR_UUID) return sites.remoteMirrorUuid
  if (mirrorUuid === sites.localMirrorUuid) return LOCAL_MIRROR_UUID
  return mirrorUuid
}

/** The local journal's tag that stands for a remote one: the same ownership epoch, seen from this side. */
export function localTagFor(remote: TagData, sites: Sites): TagData {
  const predecessor: TagPredecessor = { ...remote.predecessor, mirrorUuid: ownerSeenLocally(remote.predecessor.mirrorUuid, sites) }
  return { mirrorUuid: ownerSeenLocally(remote.mirrorUuid, sites), predecessor }
}

/**
 * The local image was demoted, and both journals know of it: nothing is left to replay of that tag. True when the remote's orphan tag is
 * what our own demotion, already recorded locally, looks like over there.
 */
export function isOwnDemotion(local: TagData): boolean {
  return (
    local.mirrorUuid === ORPHAN_MIRROR_UUID && local.predecessor.commitValid && local.predecessor.mirrorUuid === LOCAL_MIRROR_UUID
  )
}

/**
 * Links the newest tag of a non-primary local image to the tags of the primary remote image (PrepareReplayRequest.cc of Ceph's
 * rbd_mirror). It is linked while it belongs to the remote, and after a demotion on either side if the remote's promotion follows
 * that very demotion. Anything else means that both sides have been written independently.
 *
 * @param remoteTags in ascending order
 */
export function linkTags(local: TagData, remoteTags: readonly RemoteTag[], sites: Sites): TagLink {
  const known = local.predecessor
  if (local.mirrorUuid === sites.remoteMirrorUuid) {
    const since = known.commitValid && known.mirrorUuid === sites.remoteMirrorUuid ? known.tagTid : 0n
    return remoteTags.some((tag) => tag.tid >= since)
      ? { type: 'linked' }
      : { type: 'splitBrain', reason: `the remote journal has no tag since ${since}: it was reset, or the image recreated` }
  }
  if (local.mirrorUuid === LOCAL_MIRROR_UUID) return { type: 'splitBrain', reason: 'the local image was promoted and written' }
  if (local.mirrorUuid !== ORPHAN_MIRROR_UUID) {
    return { type: 'splitBrain', reason: `the local image belongs to another primary (mirror uuid ${local.mirrorUuid})` }
  }
  if (!known.commitValid) return { type: 'splitBrain', reason: 'the local image was demoted without a known position' }

  let demotion: bigint | undefined
  for (const { tid, data } of remoteTags) {
    if (known.mirrorUuid === sites.remoteMirrorUuid && known.tagTid > tid) continue
    if (demotion !== undefined && isPromotionAfter(data, demotion)) return { type: 'linked' }
    // a promotion has to follow the demotion at once
    demotion = isSameDemotion(local, data, sites) ? tid : undefined
  }
  return {
    type: 'splitBrain',
    reason: `the remote image was promoted without the local demotion at tag ${known.tagTid}, entry ${known.entryTid}`,
  }
}

function isSameDemotion(local: TagData, remote: TagData, sites: Sites): boolean {
  if (remote.mirrorUuid !== ORPHAN_MIRROR_UUID || !remote.predecessor.commitValid) return false
  if (remote.predecessor.tagTid !== local.predecessor.tagTid) return false
  return local.predecessor.mirrorUuid === ownerSeenLocally(remote.predecessor.mirrorUuid, sites)
}

function isPromotionAfter(remote: TagData, demotion: bigint): boolean {
  const { mirrorUuid, predecessor } = remote
  return (
    mirrorUuid === LOCAL_MIRROR_UUID &&
    predecessor.mirrorUuid === ORPHAN_MIRROR_UUID &&
    predecessor.commitValid &&
    predecessor.tagTid === demotion
  )
}
