import { abortable, isCancelled } from '../base/cancelled.ts'
import { delay, type Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Notifier } from '../base/notifier.ts'
import { Scope } from '../base/scope.ts'
import { mirrorPeerList, mirrorPeerPing, mirrorUuidGet } from '../cls/rbd/mirror-client.ts'
import { MirrorPeer } from '../cls/rbd/mirror-types.ts'
import { decode } from '../encoding/codec.ts'
import { MalformedInput } from '../encoding/malformed-input.ts'
import type { Cluster } from '../rados/cluster.ts'
import { EBLOCKLISTED, Errno, isErrno, RadosError } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../rbd/names.ts'

/** How often the remote is told that we fetch from it, and asked what it knows of us. */
const POLL_MS = 30_000
/** As long as the remote has no entry for us yet, or does not answer. */
const EAGER_POLL_MS = 1_000
/** Failed polls in a row after which the connection is taken for dead; one is enough when it was doubted before. */
const MAX_FAILURES = 2
/** Of the omap keys of `rbd_mirroring` that hold a peer (cls/rbd/cls_rbd.cc). */
const PEER_KEY_PREFIX = 'mirror_peer_'
const MAX_PEERS = 1024
/** How long a poll may take. */
const POLL_LIMIT_MS = 8_000

export interface RemotePoolMeta {
  readonly mirrorUuid: string
  /** '' as long as the remote has no entry for us */
  readonly mirrorPeerUuid: string
}

/** A peer's pool of the same name, reached. */
export interface RemotePool extends RemotePoolMeta {
  readonly cluster: Cluster
  /** default namespace */
  readonly io: IoCtx
}

/** Which of the remote's peers is us: by mirror uuid, else by site name (tools/rbd_mirror/RemotePoolPoller.cc). */
export function findOurselves(peers: readonly MirrorPeer[], siteName: string, localMirrorUuid: string): MirrorPeer | undefined {
  const candidates = peers.filter(({ direction }) => direction !== 'rx')
  return candidates.find(({ mirrorUuid }) => mirrorUuid === localMirrorUuid) ?? candidates.findLast((peer) => peer.siteName === siteName)
}

export interface RemotePollOptions {
  readonly io: IoCtx
  /** our own site's name, as it is now */
  siteName(): string
  readonly localMirrorUuid: string
  readonly clock: Clock
  readonly log: Log
}

/** Says hello to the remote and reads its side of the mirroring. Undefined while mirroring is not enabled there. */
export async function pollRemote(options: RemotePollOptions): Promise<RemotePoolMeta | undefined> {
  const { io, localMirrorUuid, log } = options
  const siteName = options.siteName()
  let mirrorUuid: string
  try {
    mirrorUuid = await mirrorUuidGet.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
  if (mirrorUuid === '') return undefined
  try {
    await mirrorPeerPing.call(io, RBD_MIRRORING, { siteName, mirrorUuid: localMirrorUuid })
  } catch (error) {
    if (isCancelled(error) || isErrno(error, EBLOCKLISTED, Errno.ETIMEDOUT)) throw error
    log.warn({ err: error }, 'cannot ping the remote mirror peer') // the list below may know us all the same
  }
  const peers = await readablePeers(io)
  return { mirrorUuid, mirrorPeerUuid: findOurselves(peers, siteName, localMirrorUuid)?.uuid ?? '' }
}

/** A single entry that makes no sense has the OSD refuse all of them: then they are read one by one. */
async function readablePeers(io: IoCtx): Promise<MirrorPeer[]> {
  try {
    return await mirrorPeerList.call(io, RBD_MIRRORING, undefined)
  } catch (error) {
    if (!isErrno(error, Errno.EIO)) throw error
  }
  const { entries } = await io.omapGet(RBD_MIRRORING, '', PEER_KEY_PREFIX, MAX_PEERS)
  return [...entries].flatMap(([key, value]) => {
    try {
      return [decode(MirrorPeer, value, key)]
    } catch (error) {
      if (error instanceof MalformedInput) return []
      throw error
    }
  })
}

/** Why a remote pool can't be used any longer. */
export type RemotePollEnd = { type: 'changed' } | { type: 'unreachable'; error: unknown }

/**
 * Polls until the remote's side is no longer as `known`, or does not answer. Rejects on cancellation.
 * @param poke woken by whoever has reason to doubt that the remote still answers
 */
export async function watchRemote(
  options: RemotePollOptions,
  known: RemotePoolMeta,
  poke: Notifier,
  signal: AbortSignal,
): Promise<RemotePollEnd> {
  let failures = 0
  for (;;) {
    const woken = await poke.wait(options.clock, failures > 0 || known.mirrorPeerUuid === '' ? EAGER_POLL_MS : POLL_MS, signal)
    try {
      const meta = await pollInTime(options, signal)
      failures = 0
      if (meta?.mirrorUuid !== known.mirrorUuid || meta.mirrorPeerUuid !== known.mirrorPeerUuid) return { type: 'changed' }
    } catch (error) {
      signal.throwIfAborted()
      failures += woken === 'woken' ? MAX_FAILURES : 1
      if (isErrno(error, EBLOCKLISTED) || failures >= MAX_FAILURES) return { type: 'unreachable', error }
      options.log.warn({ err: error }, 'the remote cluster does not answer')
    }
  }
}

/** `pollRemote`, which then has a limited time: ETIMEDOUT. */
export async function pollInTime(options: RemotePollOptions, signal: AbortSignal): Promise<RemotePoolMeta | undefined> {
  await using scope = new Scope(signal)
  const tooLate = new Promise<never>((_, reject) => {
    scope.spawn('limit', async (stop) => {
      await delay(options.clock, POLL_LIMIT_MS, stop)
      reject(new RadosError(Errno.ETIMEDOUT, { op: 'poll the remote pool', cluster: options.io.clusterName, pool: options.io.poolName }))
    })
  })
  const poll = pollRemote(options)
  poll.catch(() => undefined) // its time may be over
  return await abortable(Promise.race([poll, tooLate]), signal)
}
