import { delay } from '../../base/clock.ts'
import { findClient } from '../../journal/clients.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { NO_SNAP } from '../../rados/io-ctx.ts'
import { commonObjects, sizeOfView, type ImageView } from '../compare-images.ts'
import { layoutOf, sameLayout } from '../data/striping.ts'
import { findSnapshotByName } from '../header.ts'
import type { Image } from '../image.ts'
import { IMAGE_CLIENT_ID } from '../journal/image-journal.ts'
import { findLocker } from '../managed-lock.ts'
import { compareViews, Pace, verdict, type Verification, type VerifiedSides, type VerifyOptions } from './verify-replica.ts'

/** How long a replica is given to replay up to where it is compared. */
const REPLAY_WAIT_MS = 60_000
const POLL_MS = 200
/** Heads that nobody writes are compared again so often, if a writer comes in between. */
const MAX_ROUNDS = 3

export interface VerifiedJournalSides extends VerifiedSides {
  /** names the snapshots that are made for the comparison, and this site's client of the remote journal */
  localMirrorUuid: string
}

/**
 * Compares a journal-mode replica with its primary at a point of the journal. While a client has the primary open, that client is asked for a
 * snapshot, which the replica makes too when it comes to it in the journal: the two snapshots are compared. An image that nobody writes is
 * compared as it is, once all of its journal is replayed. The remote image must be opened for writing, so that its owner can be asked.
 */
export async function verifyJournalReplica(sides: VerifiedJournalSides, options: VerifyOptions): Promise<Verification> {
  const { local, remote } = sides
  await Promise.all([local.refresh(), remote.refresh()])
  if (!sameLayout(layoutOf(local.header), layoutOf(remote.header))) return { type: 'unknown', reason: 'the images are laid out differently' }
  const pace = new Pace(options)
  for (let rounds = 0; rounds < MAX_ROUNDS; rounds++) {
    const owned = await hasOwner(remote)
    const verification = owned ? await atSnapshot(sides, pace, options) : await atRest(sides, pace, options)
    if (verification) return verification
  }
  return { type: 'unknown', reason: 'clients of the primary come and go' }
}

async function hasOwner(remote: Image): Promise<boolean> {
  return (await findLocker(remote.io, remote.headerOid)) !== 'free'
}

function snapshotPrefix({ localMirrorUuid }: VerifiedJournalSides): string {
  return `.rbd-mirror.${localMirrorUuid}.verify.`
}

/** Undefined when the owner is gone meanwhile. */
async function atSnapshot(sides: VerifiedJournalSides, pace: Pace, options: VerifyOptions): Promise<Verification | undefined> {
  const { local, remote } = sides
  const { clock, random, signal } = options
  await removeSnapshots(sides, signal)
  const name = snapshotPrefix(sides) + random.uuid()
  try {
    await remote.watcher!.request({ type: 'snapCreate', name, namespace: { type: 'user' }, flags: SKIP_QUIESCE }, { signal })
  } catch (error) {
    if (isErrno(error, Errno.ETIMEDOUT, Errno.ERESTART)) return undefined
    throw error
  }
  try {
    const there = findSnapshotByName(await remote.refresh(), 'user', name)
    const here = await waitFor(REPLAY_WAIT_MS, async () => findSnapshotByName(await local.refresh(), 'user', name))
    if (!there || !here) return { type: 'unknown', reason: `the replica has not come to where the primary is within ${REPLAY_WAIT_MS / 1000} s` }
    const views: [ImageView, ImageView] = [{ image: remote, snap: there.id }, { image: local, snap: here.id }]
    return await compareAll(views, 'a snapshot of the primary made for it', pace, options)
  } finally {
    await removeSnapshots(sides, signal)
  }

  async function waitFor<T>(ms: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
    for (const until = clock.monotonic() + ms; ; ) {
      const seen = await look()
      if (seen !== undefined || clock.monotonic() > until) return seen
      await delay(clock, POLL_MS, signal)
    }
  }
}

/** librbd/Types.h, SNAP_CREATE_FLAG_SKIP_NOTIFY_QUIESCE */
const SKIP_QUIESCE = 1n << 1n

/** Also those that a verification has left that was cut short. */
async function removeSnapshots(sides: VerifiedJournalSides, signal: AbortSignal): Promise<void> {
  const { remote } = sides
  for (const { namespace, name } of (await remote.refresh()).snapshots) {
    if (namespace.type !== 'user' || !name.startsWith(snapshotPrefix(sides))) continue
    try {
      await remote.watcher!.request({ type: 'snapRemove', namespace, name }, { signal })
    } catch (error) {
      // without an owner it stays until the next time
      if (!isErrno(error, Errno.ENOENT, Errno.ETIMEDOUT, Errno.ERESTART)) throw error
    }
  }
}

/** Undefined when a client has opened the primary meanwhile. */
async function atRest(sides: VerifiedJournalSides, pace: Pace, options: VerifyOptions): Promise<Verification | undefined> {
  const { local, remote } = sides
  const { clock, signal } = options
  for (const until = clock.monotonic() + REPLAY_WAIT_MS; !(await isReplayed(sides)); ) {
    if (clock.monotonic() > until) {
      return { type: 'unknown', reason: `the primary's journal is not replayed, or its last client has left it unfinished, for ${REPLAY_WAIT_MS / 1000} s` }
    }
    await delay(clock, POLL_MS, signal)
    if (await hasOwner(remote)) return undefined
  }
  await Promise.all([local.refresh(), remote.refresh()])
  const verification = await compareAll([{ image: remote, snap: NO_SNAP }, { image: local, snap: NO_SNAP }], 'the primary, which nobody writes', pace, options)
  const before = await positionOf(sides, IMAGE_CLIENT_ID)
  const unmoved = !(await hasOwner(remote)) && before === (await positionOf(sides, IMAGE_CLIENT_ID))
  return unmoved || verification.type === 'equal' ? verification : undefined
}

async function compareAll([left, right]: [ImageView, ImageView], against: string, pace: Pace, options: VerifyOptions): Promise<Verification> {
  const total = commonObjects(left, right)
  const found = await compareViews(left, right, Array(total).keys(), pace, options)
  options.onProgress?.(total, total)
  const sizes = { primary: sizeOfView(left), replica: sizeOfView(right) }
  return verdict(against, found, sizes.primary === sizes.replica ? undefined : sizes, total, pace.bytes)
}

async function isReplayed(sides: VerifiedJournalSides): Promise<boolean> {
  const [written, replayed] = await Promise.all([positionOf(sides, IMAGE_CLIENT_ID), positionOf(sides, sides.localMirrorUuid)])
  return written !== undefined && written === replayed
}

/** Where a client of the primary's journal is, as a text to compare. */
async function positionOf({ remote }: VerifiedJournalSides, clientId: string): Promise<string | undefined> {
  const position = (await findClient(remote.io, remote.id, clientId))?.commitPosition.objectPositions[0]
  return position && `${position.tagTid}/${position.entryTid}`
}
