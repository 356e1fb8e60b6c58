import { setFeatures } from '../../cls/rbd/client.ts'
import { mirrorUuidGet } from '../../cls/rbd/mirror-client.ts'
import { Notifier } from '../../base/notifier.ts'
import { errnoText } from '../../rados/errno-text.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import { FEATURE_NON_PRIMARY, hasFeature } from '../features.ts'
import type { ImageHeader } from '../header.ts'
import type { Image } from '../image.ts'
import { ImageJournal } from '../journal/image-journal.ts'
import { RBD_MIRRORING } from '../names.ts'
import { operationError } from '../operations/invoke.ts'
import { createSnapshot } from '../operations/snapshot-create.ts'
import { unprotectSnapshotHere } from '../operations/snapshot-edit.ts'
import { removeSnapshotHere } from '../operations/snapshot-remove.ts'
import { restoreParentHere, rollBackSnapshotHere } from '../operations/snapshot-rollback.ts'
import { takeBackResync } from './image-meta.ts'
import { journalOptionsOf } from './journal-switch.ts'
import { mirrorNamespace } from './mirror-snapshot.ts'
import { loadMirrorInfo } from './mirror-info.ts'
import { nonPrimarySnapshotName } from './non-primary-snapshot.ts'
import { planPromotion, unsyncedSnapshots, type PromotionPlan } from './primary-plan.ts'
import { createPrimarySnapshot } from './primary-snapshot.ts'
import { explained, Refusal } from './refusal.ts'

/** How long a daemon may take to let go of an image that is promoted by force. */
const letGoTimeoutMs = 120_000
/** Its watch is looked for again, if it says nothing. */
const lookAgainMs = 1_000

const prefix = 'librbd::mirror::PromoteRequest: '

/**
 * Makes this site's image the one that may be written to (librbd/mirror/PromoteRequest.cc). Without `force` its primary has to be demoted
 * first, EBUSY otherwise. Rejects with Refusal.
 */
export async function promoteImage(image: Image, force: boolean, signal?: AbortSignal): Promise<void> {
  await explained(
    () => 'librbd::api::Mirror: image_promote: failed to promote image',
    async () => {
      await image.refresh()
      const info = await explained(
        (errno) => `${prefix}handle_get_info: failed to retrieve mirroring state: ${errnoText(errno)}`,
        () => loadMirrorInfo(image.io, image.id, { signal }),
      )
      const refuse = (errno: number, why: string) => new Refusal(errno, [`${prefix}handle_get_info: ${why}`], image)
      if (info.image.state !== 'enabled') throw refuse(Errno.EINVAL, 'mirroring is not currently enabled')
      if (info.promotion.state === 'primary' && hasFeature(image.header.features, FEATURE_NON_PRIMARY)) return makeWritable(image)
      if (info.promotion.state === 'primary') throw refuse(Errno.EINVAL, 'image is already primary')
      const unfinished = info.image.mode === 'snapshot' && planPromotion(image.header.snapshots, image.header.size).type !== 'promote'
      if ((info.promotion.state === 'non-primary' || unfinished) && !force) {
        throw refuse(Errno.EBUSY, 'image is primary within a remote cluster or demotion is not propagated yet')
      }
      if (info.image.mode === 'journal') await promoteJournal(image, false)
      else await promoteSnapshotImage(image, info.image.globalImageId, signal)
      await image.watcher?.notifyHeaderUpdate()
    },
  )
}

/**
 * A resync that was asked for before is off: done after the next demotion, it would give up what is written from now on.
 *
 * @param unlinkable no peer may ever follow, whatever the journal says
 */
export async function promoteJournal(image: Image, unlinkable: boolean): Promise<void> {
  const journal = await ImageJournal.open(journalOptionsOf(image))
  try {
    await journal.promote(unlinkable)
    await journal.takeBackResync()
  } finally {
    await journal.close()
  }
}

/**
 * librbd/mirror/snapshot/PromoteRequest.cc:
 *
 *     follows nobody ──────────────────────────────────────────────────────────────────────────────────────→ primary snapshot → writable
 *     else orphan snapshot → daemons let go → lock → roll back an unfinished sync, remove its user snapshots ─┘
 */
export async function promoteSnapshotImage(image: Image, globalImageId: string, signal?: AbortSignal): Promise<void> {
  const possible = ({ snapshots, size }: ImageHeader) => {
    const plan: PromotionPlan = planPromotion(snapshots, size)
    if (plan.type !== 'refuse') return plan
    const lines = [`librbd::mirror::snapshot::util:  can_create_primary_snapshot: ${plan.reason}`, 'librbd::mirror::snapshot::PromoteRequest: send: cannot promote']
    throw new Refusal(Errno.EINVAL, lines, image)
  }
  const plan = possible(await image.refreshIfNeeded())
  const finish = async () => {
    await createPrimarySnapshot(image, { globalImageId, force: true, withoutPeers: true, quiesce: 'skip', signal })
    await makeWritable(image)
  }
  if (plan.type === 'promote') return finish()
  if (!plan.orphaned) await createOrphanSnapshot(image, globalImageId, signal)
  await waitUntilReleased(image, signal)
  await locked(image, signal, async () => {
    // the daemon may have completed its sync before it let go, and pruned what was to be gone back to
    const now = possible(await image.refresh())
    if (now.type === 'forcePromote') await giveUpSync(image, now)
    await finish()
  })
}

/** The last step of a promotion: one that ended before it is finished by promoting again. */
async function makeWritable(image: Image): Promise<void> {
  await takeBackResync(image.io, image.id, await mirrorUuidGet.call(image.io, RBD_MIRRORING, undefined))
  await setFeatures.call(image.io, image.headerOid, { features: 0n, mask: FEATURE_NON_PRIMARY })
  await image.headerChanged()
}

/** Says that the image follows nobody any more: its daemon stops at the sight of it. */
async function createOrphanSnapshot(image: Image, globalImageId: string, signal: AbortSignal | undefined): Promise<void> {
  const name = nonPrimarySnapshotName(globalImageId, image.options.random.uuid())
  await createSnapshot(image, { name, namespace: mirrorNamespace('non-primary', true), quiesce: 'quiesce' }, { signal })
}

/** Until no daemon watches the image any more: one that may not have heard is told again. Rejects with ETIMEDOUT. */
async function waitUntilReleased(image: Image, signal: AbortSignal | undefined): Promise<void> {
  const { clock } = image.options
  const updated = new Notifier()
  const unsubscribe = image.onUpdate(() => updated.wake())
  let announcing: Promise<void> | undefined
  try {
    for (const deadline = clock.monotonic() + letGoTimeoutMs; await daemonsWatch(image); ) {
      if (clock.monotonic() > deadline) throw operationError(image, Errno.ETIMEDOUT, 'wait until the mirroring daemon lets go of the image')
      if ((await updated.wait(clock, lookAgainMs, signal)) === 'woken') continue
      // not waited for: who is gone without a word answers no more, and is still a watcher for a while
      announcing ??= image.watcher?.notifyHeaderUpdate().finally(() => (announcing = undefined))
      announcing?.catch((error: unknown) => image.options.log.debug({ err: error, imageId: image.id }, 'promotion not announced again'))
    }
  } finally {
    unsubscribe()
    await announcing?.catch(() => undefined)
  }
}

/** Daemons are clients that watch the pool's mirroring as well. */
async function daemonsWatch(image: Image): Promise<boolean> {
  const [watchers, mirroring] = await Promise.all([watchersOf(image, image.headerOid), watchersOf(image, RBD_MIRRORING)])
  return watchers.some((id) => id !== image.options.cluster.instanceId && mirroring.includes(id))
}

async function watchersOf(image: Image, oid: string): Promise<bigint[]> {
  try {
    return (await image.io.listWatchers(oid)).map(({ clientId }) => clientId)
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return []
    throw error
  }
}

/** Runs `task` with the image's lock, if it has one, and gives it back afterwards. */
async function locked(image: Image, signal: AbortSignal | undefined, task: () => Promise<void>): Promise<void> {
  const { lock } = image
  if (!image.usesLock || !lock) return task()
  if ((await lock.acquire({ signal })) === 'refused') throw operationError(image, Errno.EROFS, 'acquire the exclusive lock')
  try {
    await task()
  } finally {
    await lock.release()
  }
}

async function giveUpSync(image: Image, plan: Extract<PromotionPlan, { type: 'forcePromote' }>): Promise<void> {
  const giveUp = async () => {
    const unsynced = unsyncedSnapshots(image.header.snapshots, plan)
    if (plan.rollBackTo !== undefined) {
      await rollBackSnapshotHere(image, plan.rollBackTo)
      await restoreParentHere(image, plan.rollBackTo)
    }
    for (const { id, protection } of unsynced) {
      if (protection !== 'unprotected') await unprotectSnapshotHere(image, id)
      await removeSnapshotHere(image, id)
    }
  }
  await (image.usesLock && image.lock ? image.lock.use(giveUp) : giveUp())
}
