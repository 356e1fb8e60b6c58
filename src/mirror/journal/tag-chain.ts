import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData, type TagPredecessor } from '../../rbd/journal/tag-data.ts'

/** Mirror uuids of the two clusters: `''` in a tag is the cluster whose journal it stands in. */
export interface Sites {
  localMirrorUuid: string
  remoteMirrorUuid: string
}

export interface NumberedTag {
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
  return isDemotionHere(local) && local.predecessor.commitValid
}

/**
 * Links the newest tag of a non-primary local image to the tags of the primary remote image (PrepareReplayRequest.cc of Ceph's
 * rbd_mirror). It is linked while it belongs to the remote, and after a demotion on either side if the remote's promotion follows
 * that very demotion. Anything else means that both sides have been written independently.
 *
 * @param remoteTags in ascending order
 */
export function linkTags(local: TagData, remoteTags: readonly NumberedTag[], sites: Sites): TagLink {
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

  let demotion: bigint | undefined
  for (const { tid, data } of remoteTags) {
    if (known.mirrorUuid === sites.remoteMirrorUuid && known.tagTid > tid) continue
    if (demotion !== undefined && followsDemotion(data) === demotion) return { type: 'linked' }
    // a promotion has to follow the demotion at once
    demotion = isSameDemotion(local, data, sites) ? tid : undefined
  }
  return {
    type: 'splitBrain',
    reason: `the remote image was promoted without the local demotion at tag ${known.tagTid}, entry ${known.entryTid}`,
  }
}

/** A journal that nothing was ever written to has no position at its first demotion, and has one ever after: that names it as well. */
function isSameDemotion(local: TagData, remote: TagData, sites: Sites): boolean {
  const [known, other] = [local.predecessor, remote.predecessor]
  if (remote.mirrorUuid !== ORPHAN_MIRROR_UUID || other.commitValid !== known.commitValid) return false
  if (known.commitValid && other.tagTid !== known.tagTid) return false
  return known.mirrorUuid === ownerSeenLocally(other.mirrorUuid, sites)
}

/** The remote as a reader of the local journal. */
export interface Reader {
  /** its image */
  imageId: string
  /** its first copy is made */
  replaying: boolean
  /** the newest tag that it has committed entries of */
  committedTag: bigint | undefined
}

/** Whether this tag is the image's own demotion by the site in whose journal it stands. */
export function isDemotionHere({ mirrorUuid, predecessor }: TagData): boolean {
  return mirrorUuid === ORPHAN_MIRROR_UUID && predecessor.mirrorUuid === LOCAL_MIRROR_UUID
}

/**
 * Whether the remote's image has everything that the local one ever had: it has replayed the local demotion, after which nothing was written here.
 * That says the local journal itself, and holds when the remote's tags no longer tell it: they go with the first writes after its promotion where
 * this site has not followed it from the beginning.
 *
 * @param local the local journal's newest tag
 */
export function demotionReplayed(local: NumberedTag, reader: Reader | undefined, remoteImageId: string): boolean {
  if (!isDemotionHere(local.data) || reader?.imageId !== remoteImageId || !reader.replaying) return false
  return reader.committedTag !== undefined && reader.committedTag >= local.tid
}

/** An epoch in which this site was primary and wrote nothing. */
export interface EmptyEpoch {
  /** the tag that began it: no entry of this tag or a later one may be anything but a change of owner */
  promotion: bigint
  /** the image's newest tag before, a demotion: it still tells all of what the image holds */
  before: NumberedTag
}

/**
 * The epochs at the end of the local journal in which this site was promoted in an orderly way and demoted again without a write, the newest first.
 * Each demotion says that the promotion's own event was committed last. What was appended and is not committed has to be looked for in the entries.
 *
 * @param tags of the local journal, in ascending order, the newest last
 */
export function emptyEpochs(tags: readonly NumberedTag[]): EmptyEpoch[] {
  const epochs: EmptyEpoch[] = []
  for (let at = tags.length - 1; at >= 0; ) {
    const { predecessor: last, ...demotion } = tags[at]!.data
    if (!isDemotionHere({ ...demotion, predecessor: last }) || !last.commitValid || last.entryTid !== 0n) break
    // who takes the lock begins a tag, whether he writes or not
    do at--
    while (at > 0 && tags[at]!.data.mirrorUuid === LOCAL_MIRROR_UUID && tags[at]!.tid > last.tagTid)
    const [before, promotion] = [tags[at - 1], tags[at]]
    if (!before || !promotion || promotion.tid !== last.tagTid || promotion.tid !== before.tid + 1n) break
    if (before.data.mirrorUuid !== ORPHAN_MIRROR_UUID || followsDemotion(promotion.data) !== before.tid) break
    epochs.push({ promotion: promotion.tid, before })
    at--
  }
  return epochs
}

/** The tag of the demotion that an orderly promotion by the site in whose journal it stands comes after. */
export function followsDemotion({ mirrorUuid, predecessor }: TagData): bigint | undefined {
  const orderly = mirrorUuid === LOCAL_MIRROR_UUID && predecessor.mirrorUuid === ORPHAN_MIRROR_UUID && predecessor.commitValid
  return orderly ? predecessor.tagTid : undefined
}
