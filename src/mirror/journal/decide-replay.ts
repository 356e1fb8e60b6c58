import type { ClientState } from '../../cls/journal/types.ts'
import type { MirrorPeerClientMeta } from '../../rbd/journal/client-data.ts'
import { LOCAL_MIRROR_UUID } from '../../rbd/journal/tag-data.ts'
import type { ReplayEnd } from '../replayer.ts'
import { demotionReplayed, linkTags, type NumberedTag, type Reader, type Sites } from './tag-chain.ts'

/** What both journals say of an image whose local image exists. */
export interface JournalObservation {
  localImageId: string
  remoteImageId: string
  /** the local journal's newest tag */
  localTag: NumberedTag
  /** the newest tags before epochs in which nothing was written here: each tells as well as the newest one what the image holds */
  earlierTags?: readonly NumberedTag[]
  resyncRequested: boolean
  /** this site's client of the remote journal; new: the journal does not know this site */
  client: { meta: MirrorPeerClientMeta; state: ClientState | undefined; isNew: boolean }
  /** the remote's client of the local journal; undefined also while the remote is to be made equal to another image */
  reader: Reader | undefined
  /** of the remote image itself, in ascending order */
  remoteTags: readonly NumberedTag[]
  sites: Sites
  resyncAfterDisconnect: boolean
  resyncMode?: 'delta' | 'recreate'
}

export type JournalDecision =
  /** a split-brain with the mere reason, of which more may be told */
  | { type: 'end'; end: ReplayEnd }
  /** The first copy has to be made, or to be gone on with. */
  | { type: 'sync' }
  /** The local image is to be compared with the primary; `begun`: an earlier run has prepared it for that */
  | { type: 'resync'; begun: boolean }
  /**
   * `markReplaying`: the client is still noted as syncing, though the local image has a history of its own since. `readerHasAll`: the remote has all
   * that is in the local journal, without having replayed it
   */
  | { type: 'replay'; markReplaying: boolean; readerHasAll: boolean }

/** Whether and how replay may start (image_replayer/journal/{PrepareReplayRequest,Replayer}.cc, BootstrapRequest.cc). */
export function decideReplay(observation: JournalObservation): JournalDecision {
  const { client, localTag, sites, localImageId, remoteImageId, reader, remoteTags, earlierTags = [], resyncAfterDisconnect } = observation
  const { mirrorUuid } = localTag.data
  // a promotion goes before a resync that was asked for earlier
  if (mirrorUuid === LOCAL_MIRROR_UUID) return end({ type: 'localPrimary' })
  const resync = observation.resyncRequested || (client.state === 'disconnected' && resyncAfterDisconnect)
  if (resync) return decideResync(observation)
  if (client.meta.imageId !== localImageId) {
    return end({ type: 'splitBrain', reason: `the remote journal knows another image of this site (${client.meta.imageId})` })
  }
  const syncing = client.meta.state === 'syncing'
  const followsRemote = mirrorUuid === sites.remoteMirrorUuid
  const isLinked = ({ data }: NumberedTag) => linkTags(data, remoteTags, sites).type === 'linked'
  let readerHasAll = false
  if (!(syncing && followsRemote)) {
    const link = linkTags(localTag.data, remoteTags, sites)
    readerHasAll = link.type === 'splitBrain' && earlierTags.some(isLinked)
    if (link.type === 'splitBrain' && !readerHasAll) {
      if (!followsRemote && remoteTags.at(-1)?.data.mirrorUuid !== LOCAL_MIRROR_UUID) return end({ type: 'remoteNotPrimary' })
      return demotionReplayed(localTag, reader, remoteImageId) ? catchUp(observation) : end(link)
    }
  }
  if (client.isNew) return catchUp(observation)
  if (client.state === 'disconnected') return end({ type: 'disconnected' })
  return syncing && followsRemote ? { type: 'sync' } : { type: 'replay', markReplaying: syncing, readerHasAll }
}

/**
 * The local image has nothing of its own, but what it misses may be trimmed from the remote journal, which did not always know this site: it is
 * compared with the primary.
 */
function catchUp(observation: JournalObservation): JournalDecision {
  if (observation.resyncMode !== 'recreate') return decideResync(observation)
  const description = 'the remote journal does not know this site, and may have lost what is missing here: request a resync of this image'
  return end({ type: 'failed', description, error: undefined })
}

/** What is here is given up only for a primary that can give it all. */
function decideResync({ client, localTag, localImageId, remoteTags, sites, resyncMode }: JournalObservation): JournalDecision {
  if (remoteTags.at(-1)?.data.mirrorUuid !== LOCAL_MIRROR_UUID) return end({ type: 'resyncWaits', for: 'primary' })
  if (resyncMode === 'recreate') return end({ type: 'resyncRequested' })
  const { meta, state } = client
  const begun = meta.state === 'syncing' && state === 'connected' && meta.imageId === localImageId && localTag.data.mirrorUuid === sites.remoteMirrorUuid
  return { type: 'resync', begun }
}

function end(value: ReplayEnd): JournalDecision {
  return { type: 'end', end: value }
}
