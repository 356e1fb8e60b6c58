import { unreachable } from '../../base/assert.ts'
import { abortable, Cancelled, isCancelled } from '../../base/cancelled.ts'
import { delay } from '../../base/clock.ts'
import { Notifier } from '../../base/notifier.ts'
import { Scope } from '../../base/scope.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { EBLOCKLISTED, Errno, isErrno, RadosError, severityOf } from '../../rados/errors.ts'
import type { SnapId } from '../../rados/io-ctx.ts'
import type { Image } from '../../rbd/image.ts'
import type { LockPolicy } from '../../rbd/lock-policy.ts'
import { loadImageMeta } from '../../rbd/mirror/image-meta.ts'
import { isPrimary, mirrorSnapshots } from '../../rbd/mirror/mirror-snapshot.ts'
import { unlinkPeer } from '../../rbd/mirror/unlink-peer.ts'
import { headerName } from '../../rbd/names.ts'
import { encodeImageMessage } from '../../rbd/notify/image-messages.ts'
import { NOTIFY_TIMEOUT_MS } from '../../rbd/object-watcher.ts'
import { removeSnapshot } from '../../rbd/operations/snapshot-remove.ts'
import type { ImageContext } from '../image-context.ts'
import { takeImageLock } from '../image-lock.ts'
import { PassingFailure, type Replayer, type ReplayEnd } from '../replayer.ts'
import { lacksParent, requireLocalParent } from '../resync/parents.ts'
import { snapshotSplitBrain } from '../split-brain/snapshot-cause.ts'
import { BEING_PROMOTED, describing, ImageSync, NO_IMAGE_STATE, SyncFailure, type SyncStep } from './image-sync.ts'
import { mustStop, planNext, type Observation, type Step } from './plan.ts'
import { ReplayStatus } from './replay-status.ts'

/** Both images are looked at this often even if nothing was heard. */
const SAFETY_REFRESH_MS = 300_000
/** Whoever took the lock away needs so long at most to say what for. */
const LOCK_TAKER_MS = 5_000

/** Doing the same step so often without effect is a fault of ours, or of the cluster's: not to be done in a hot loop. */
const MAX_SAME_STEP = 5

/**
 * What the owner of a snapshot-mode replica's lock answers. Whoever may ask for the lock gets it: only a promotion does, since
 * other clients can't open the image for writing.
 */
export function replicaPolicy(onRequested: () => void): LockPolicy {
  return {
    lockRequested() {
      onRequested()
      return 'release'
    },
    operationRequested: (type) => (type === 'general' ? Errno.EROFS : 'accept'),
  }
}

/**
 * Keeps a local image at the newest mirror-snapshot of a remote one:
 *
 *     observe both → plan one step → do it → observe … → nothing to do: wait for either image's header watch
 */
export class SnapshotReplayer implements Replayer {
  private readonly wakeUp = new Notifier()
  private readonly status: ReplayStatus
  private readonly sync: ImageSync
  private syncing: AbortController | undefined
  private readonly passedOver = new Set<SnapId>()
  private refreshAll = false
  private lastStep = { signature: '', times: 0 }
  private lockRequested = false
  private resyncRequested = false
  private lost: Error | undefined
  private flushes: (() => void)[] = []

  constructor(
    private readonly context: ImageContext,
    private readonly local: Image,
    private readonly remote: Image,
  ) {
    this.status = new ReplayStatus(context.clock, context.metrics)
    let bytes = 0
    this.sync = new ImageSync(context, local, remote, (progress) => {
      this.status.advance(progress.objects, progress.totalObjects)
      this.status.addBytes(Math.max(0, progress.bytesRead - bytes))
      bytes = progress.bytesRead
      this.report()
    })
  }

  /** For the lock policy of the local image. */
  lockTaken(): void {
    this.lockRequested = true
    this.syncing?.abort(new Cancelled('the exclusive lock is wanted'))
    this.wakeUp.wake()
  }

  async run(signal: AbortSignal): Promise<ReplayEnd> {
    await using scope = new Scope(signal)
    const stopListening = this.listen(scope)
    let end: ReplayEnd
    try {
      end = await this.replay(scope.signal)
    } catch (error) {
      end = this.endOf(error, signal)
    } finally {
      stopListening()
      for (const resolve of this.flushes) resolve()
      this.flushes = []
      await this.close()
    }
    if (end.type === 'orphan') await this.letPromotionGoOn()
    return end
  }

  /** Whoever promotes by force waits until no mirroring daemon has the image open, and looks again at once when the header has changed. */
  private async letPromotionGoOn(): Promise<void> {
    const { local, log } = this.context
    try {
      await local.io.notify(headerName(this.local.id), encodeImageMessage({ type: 'headerUpdate' }), NOTIFY_TIMEOUT_MS)
    } catch (error) {
      log.debug({ err: error }, 'cannot tell that the image is free')
    }
  }

  async flush(): Promise<void> {
    const flushed = new Promise<void>((resolve) => this.flushes.push(resolve))
    this.refreshAll = true
    this.wakeUp.wake()
    await flushed
  }

  private listen(scope: Scope): () => void {
    const lost = (error: Error) => {
      this.lost = error
      this.syncing?.abort(new Cancelled('watch or lock lost'))
      this.wakeUp.wake()
    }
    const localUpdated = () => {
      this.wakeUp.wake()
      if (this.syncing) scope.spawn('look for a promotion', () => this.interruptIfPromoted())
    }
    const stops = [
      this.local.onUpdate(localUpdated),
      this.remote.onUpdate(() => this.wakeUp.wake()),
      this.local.onLost(lost),
      this.remote.onLost(lost),
      this.local.lock?.onLost(lost),
    ]
    return () => stops.forEach((stop) => stop?.())
  }

  private async interruptIfPromoted(): Promise<void> {
    const { syncing } = this
    try {
      await this.local.refreshIfNeeded()
    } catch (error) {
      // the sync under way, or the next observation, hears of it too
      this.context.log.debug({ err: error }, 'cannot look for a promotion')
      return
    }
    if (syncing && mustStop(this.observation())) syncing.abort(new Cancelled(BEING_PROMOTED))
  }

  private async replay(signal: AbortSignal): Promise<ReplayEnd> {
    this.context.report({ type: 'name', name: this.local.header.name })
    const refusal = await describing('failed to lock local image', () => this.takeLock(signal))
    if (refusal) return refusal
    await describing('failed to prune non-primary snapshot', () => this.removeTrashed(signal))
    for (;;) {
      signal.throwIfAborted()
      if (this.lost) throw this.lost
      const observation = await this.observe(signal)
      const step = planNext(observation)
      this.context.log.debug({ step: step.type }, 'planned')
      if (step.type === 'splitBrain') return { type: 'splitBrain', reason: await this.causeOf(step.reason, signal) }
      if (step.type === 'resyncRequested') await describing('failed to prepare resync', () => requireLocalParent(this.context, this.remote.header))
      if (isOutcome(step)) return endOf(step)
      if (this.lockRequested) return await this.afterLockRequest(signal)
      if (step.type === 'idle') {
        this.lastStep = { signature: '', times: 0 }
        this.report()
        const waiting = this.flushes
        this.flushes = []
        for (const resolve of waiting) resolve()
        if ((await this.wakeUp.wait(this.context.clock, SAFETY_REFRESH_MS, signal)) === 'timeout') this.refreshAll = true
        continue
      }
      if (this.isStuck(step)) return { type: 'transient', reason: `replay makes no progress (${step.type})` }
      await this.act(step, signal)
    }
  }

  private async causeOf(reason: string, signal: AbortSignal): Promise<string> {
    const { local, remote, context } = this
    try {
      const uuids = { localMirrorUuid: context.local.mirrorUuid, remoteMirrorUuid: context.remote.mirrorUuid, mirrorPeerUuid: context.remote.mirrorPeerUuid }
      return await snapshotSplitBrain(reason, { local, remote, ...uuids }, signal)
    } catch (error) {
      signal.throwIfAborted()
      // that they differ is certain, whatever keeps us from telling more
      context.log.debug({ err: error }, 'cannot tell the cause of a split-brain')
      return reason
    }
  }

  /** A step that is planned again right after it was done was planned from what is not so: first both images are read anew. */
  private isStuck(step: Action): boolean {
    const signature = JSON.stringify(step, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value instanceof Set ? [...(value as Set<string>)] : value))
    if (signature !== this.lastStep.signature) this.lastStep = { signature, times: 0 }
    if (++this.lastStep.times > 1) this.refreshAll = true
    return this.lastStep.times > MAX_SAME_STEP
  }

  /** Snapshots whose removal a crash has cut short are in the trash, where nobody else looks for them; those with clones belong there. */
  private async removeTrashed(signal: AbortSignal): Promise<void> {
    for (const { id, namespace, childCount } of this.local.header.snapshots) {
      if (namespace.type === 'trash' && childCount === 0) await removeSnapshot(this.local, id, { signal })
    }
  }

  private async takeLock(signal: AbortSignal): Promise<ReplayEnd | undefined> {
    const { lock, usesLock } = this.local
    return lock && usesLock ? takeImageLock(lock, this.context.clock, signal) : undefined
  }

  /** What the local image says of a promotion is not kept waiting by a remote that does not answer. */
  private async observe(signal: AbortSignal): Promise<Observation> {
    const all = this.refreshAll
    this.refreshAll = false
    const { context, local, remote } = this
    const refreshingRemote = describing('failed to refresh remote image', () => abortable(all ? remote.refresh() : remote.refreshIfNeeded(), signal))
    refreshingRemote.catch(() => undefined) // told below, unless nobody needs to know
    const [meta] = await Promise.all([
      describing('failed to load local image-meta', () => loadImageMeta(local.io, local.id, context.local.mirrorUuid)),
      describing('failed to refresh local image', () => (all ? local.refresh() : local.refreshIfNeeded())),
    ])
    this.resyncRequested = meta.resyncRequested
    if (!mustStop(this.observation())) await refreshingRemote
    return this.observation()
  }

  private observation(): Observation {
    const { local, remote } = this.context
    return {
      resyncRequested: this.resyncRequested,
      resyncMode: lacksParent(this.local.header, this.remote.header) ? 'recreate' : this.context.options.resyncMode,
      local: mirrorSnapshots(this.local.header.snapshots),
      remote: mirrorSnapshots(this.remote.header.snapshots),
      remoteIds: new Set(this.remote.header.snapshots.map(({ id }) => id)),
      localMirrorUuid: local.mirrorUuid,
      remoteMirrorUuid: remote.mirrorUuid,
      mirrorPeerUuid: remote.mirrorPeerUuid,
      passedOver: this.passedOver,
    }
  }

  private async act(step: Action, signal: AbortSignal): Promise<void> {
    switch (step.type) {
      case 'sync':
      case 'resume':
        return this.doSync(step, signal)
      case 'checkpoint':
        return this.sync.checkpoint(step)
      case 'tidy':
        return this.tidy(step, signal)
    }
  }

  private async doSync(step: Extract<Step, { type: 'sync' | 'resume' }>, signal: AbortSignal): Promise<void> {
    const { log } = this.context
    const syncing = new AbortController()
    const forward = () => syncing.abort(signal.reason)
    signal.addEventListener('abort', forward, { once: true })
    this.syncing = syncing
    this.status.begin(step.to.id, step.pending)
    this.report()
    try {
      const outcome = await this.sync.run(step, syncing.signal)
      if (outcome === 'gone') {
        this.status.end()
        log.info({ to: String(step.to.id) }, 'the remote snapshot was removed while it was copied')
        return
      }
      this.status.end(outcome)
      log.info({ step: step.type, from: String(step.base.remoteSnapId), to: String(step.to.id), ...outcome }, 'snapshot synced')
    } catch (error) {
      this.status.end()
      // the next observation says why it was interrupted
      if (this.passOver(step, error)) return log.warn({ err: error, snapshot: String(step.to.id) }, 'a snapshot that can not be synced to is passed over')
      if (signal.aborted || !(syncing.signal.aborted || isCancelled(error))) throw error
      log.info({ reason: String(syncing.signal.reason ?? error) }, 'sync interrupted')
    } finally {
      this.syncing = undefined
      signal.removeEventListener('abort', forward)
    }
    this.report()
  }

  /** Whether a snapshot whose image state is missing or makes no sense is to be left out, because there is a newer one. */
  private passOver({ to }: SyncStep, error: unknown): boolean {
    if (!(error instanceof SyncFailure) || error.description !== NO_IMAGE_STATE) return false
    if (!(error.cause instanceof MalformedInput) && !isErrno(error.cause, Errno.ENOENT)) return false
    const { mirrorPeerUuid } = this.context.remote
    const newer = mirrorSnapshots(this.remote.header.snapshots).some(
      ({ id, namespace }) => id > to.id && namespace.complete && isPrimary(namespace) && namespace.mirrorPeerUuids.has(mirrorPeerUuid),
    )
    if (newer) this.passedOver.add(to.id)
    return newer
  }

  private async tidy({ prune, unlink }: Extract<Step, { type: 'tidy' }>, signal: AbortSignal): Promise<void> {
    const { mirrorPeerUuid } = this.context.remote
    await Promise.all([
      describing('failed to prune non-primary snapshot', async () => {
        for (const { id } of prune) await removeSnapshot(this.local, id, { signal })
      }),
      describing('failed to unlink local peer from remote image', async () => {
        if (unlink.length === 0) return
        const ids = unlink.map(({ id }) => id)
        await abortable(unlinkPeer(this.remote, ids, mirrorPeerUuid, signal), signal)
      }),
    ])
  }

  /** The lock was asked for, hence given: by what comes next we see what for. */
  private async afterLockRequest(signal: AbortSignal): Promise<ReplayEnd> {
    const { clock } = this.context
    await using scope = new Scope(signal)
    const timeout = delay(clock, LOCK_TAKER_MS, scope.signal).then(() => 'timeout' as const)
    timeout.catch(() => undefined) // ends with the scope
    for (let over = false; !over; ) {
      over = (await Promise.race([timeout, this.wakeUp.wait(clock, LOCK_TAKER_MS, scope.signal)])) === 'timeout'
      this.refreshAll = true
      const step = planNext(await this.observe(scope.signal))
      if (step.type === 'resyncRequested') await describing('failed to prepare resync', () => requireLocalParent(this.context, this.remote.header))
      if (isOutcome(step)) return endOf(step)
    }
    return { type: 'transient', reason: 'the exclusive lock was taken by another client' }
  }

  private report(): void {
    const description = this.status.describe(mirrorSnapshots(this.local.header.snapshots), mirrorSnapshots(this.remote.header.snapshots))
    if (description) this.context.report({ type: 'replaying', description })
  }

  private endOf(error: unknown, signal: AbortSignal): ReplayEnd {
    if (signal.aborted && isCancelled(error)) return { type: 'stopped' }
    return endOfFailure(error)
  }

  /** The local one first: the remote cluster may be out of reach. */
  private async close(): Promise<void> {
    const { log } = this.context
    await this.local.close().catch((error: unknown) => log.warn({ err: error }, 'local image not closed cleanly'))
    await this.remote.close().catch((error: unknown) => log.debug({ err: error }, 'remote image not closed cleanly'))
  }
}

/** Steps that are done here; the others end the replay, but `idle`. */
type Action = Extract<Step, { type: 'sync' | 'resume' | 'checkpoint' | 'tidy' }>
type Outcome = Exclude<Step, Action | { type: 'idle' }>

const endsReplay: Readonly<Record<Step['type'], boolean>> = {
  resyncRequested: true,
  resyncWaits: true,
  localPromoted: true,
  orphan: true,
  splitBrain: true,
  startOver: true,
  invalid: true,
  remoteDemoted: true,
  checkpoint: false,
  sync: false,
  resume: false,
  tidy: false,
  idle: false,
}

function isOutcome(step: Step): step is Outcome {
  return endsReplay[step.type]
}

function endOf(outcome: Outcome): ReplayEnd {
  switch (outcome.type) {
    case 'splitBrain':
      return { type: 'splitBrain', reason: outcome.reason }
    case 'startOver':
      return { type: 'resyncRequested' }
    case 'resyncWaits':
      return outcome
    case 'invalid':
      return { type: 'failed', description: outcome.reason, error: undefined }
    case 'resyncRequested':
    case 'localPromoted':
    case 'orphan':
    case 'remoteDemoted':
      return { type: outcome.type }
    default:
      return unreachable(outcome)
  }
}

/** How a failure ends a replay: a lost connection is for the pool to see, what passes is tried again. Rethrows what is not about this image. */
export function endOfFailure(error: unknown): ReplayEnd {
  const cause = error instanceof SyncFailure ? error.cause : error
  if (isErrno(cause, EBLOCKLISTED)) throw cause
  if (cause instanceof PassingFailure) return { type: 'transient', reason: cause.message }
  const description = error instanceof SyncFailure ? error.description : 'replay failed'
  if (isErrno(cause, Errno.ENOSPC, Errno.EDQUOT)) return { type: 'transient', reason: `${description}: no space left on cluster ${cause.cluster ?? ''}`.trim() }
  if (cause instanceof RadosError && severityOf(cause) === 'transient') return { type: 'transient', reason: `${description}: ${cause.message}` }
  return { type: 'failed', description, error: cause }
}
