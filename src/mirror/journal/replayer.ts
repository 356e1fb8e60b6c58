import { abortable, Cancelled, isCancelled } from '../../base/cancelled.ts'
import { delay } from '../../base/clock.ts'
import { Notifier } from '../../base/notifier.ts'
import { Scope } from '../../base/scope.ts'
import { decode, utimeToMs } from '../../encoding/codec.ts'
import { MalformedInput } from '../../encoding/malformed-input.ts'
import { getTag } from '../../journal/tags.ts'
import type { Journal } from '../../journal/journal.ts'
import { journalDataName, journalDataPrefix } from '../../journal/names.ts'
import { MIN_FETCH_BYTES } from '../../journal/object-reader.ts'
import type { PlayedEntry, Played, PlayerLimits } from '../../journal/player.ts'
import { EBLOCKLISTED, Errno, isErrno } from '../../rados/errors.ts'
import type { Image } from '../../rbd/image.ts'
import { EventEntry } from '../../rbd/journal/events.ts'
import { decodeTag, IMAGE_CLIENT_ID, loadHistory, type ImageJournal } from '../../rbd/journal/image-journal.ts'
import { LOCAL_MIRROR_UUID, ORPHAN_MIRROR_UUID, type TagData } from '../../rbd/journal/tag-data.ts'
import type { ImageContext } from '../image-context.ts'
import { takeImageLock } from '../image-lock.ts'
import type { Replayer, ReplayEnd } from '../replayer.ts'
import { describing } from '../snapshot/image-sync.ts'
import { endOfFailure } from '../snapshot/replayer.ts'
import { CommitTracker } from './commit-tracker.ts'
import { UnknownOutcome, UnreplayableEvent, type EventApplier } from './event-applier.ts'
import { loadImageSettings, type ImageSettings } from './image-settings.ts'
import type { JournalResync } from '../resync/journal-resync.ts'
import type { JournalImageSync } from './image-sync.ts'
import type { RemoteClient } from './remote-client.ts'
import { entriesBehind, Rate, replayDescription } from './replay-status.ts'
import { isOwnDemotion, localTagFor, type Sites } from './tag-chain.ts'

/** While nothing comes, what was replayed is committed after so long, whatever the commit age. */
const IDLE_COMMIT_MS = 500
/** Fetched at once of each of a journal's objects: more is no faster. */
const MAX_FETCH_BYTES = 2 * 1024 * 1024
/** The local journal is looked at at least this often. */
const SAFETY_LOOK_MS = 30_000
/** A replay that goes on reports this often. */
const REPORT_MS = 1_000

export interface JournalReplay {
  local: Image
  localJournal: ImageJournal
  remoteJournal: Journal
  client: RemoteClient
  applier: EventApplier
  /** the first copy, if it has to be made before; with the remote image open for it, which it closes */
  sync: { image: Image; copy: JournalImageSync | JournalResync } | undefined
  /** of the local image when it was opened */
  settings: ImageSettings
}

/**
 * Follows a primary image by its journal:
 *
 *     lock → image sync, the first time → read entries → (new tag: our tag follows) → apply → commit … → nothing more: flush, commit, wait
 *
 * Commit positions go back to the remote journal once the entries are safe here: at the commit age, and when there is nothing else to do.
 */
export class JournalReplayer implements Replayer {
  private readonly wakeUp = new Notifier()
  private tracker: CommitTracker
  private readonly sites: Sites
  private settings: ImageSettings
  private readonly entryRate = new Rate()
  private readonly byteRate = new Rate()
  private readonly tags = new Map<bigint, TagData>()
  private lost: Error | undefined
  private end: ReplayEnd | undefined
  private tagTid: bigint | undefined
  private demoted = false
  private newestTimestamp = 0
  private batch = { entries: 0, bytes: 0, startedAt: 0 }
  private committedAt: number
  private reportedAt = -Infinity
  private uncommitted = false
  private lookedAt: number
  private name: string | undefined
  private cancelIdleCommit: (() => void) | undefined
  private flushes: { resolve: () => void; reject: (error: Error) => void }[] = []

  constructor(
    private readonly context: ImageContext,
    private readonly replayed: JournalReplay,
  ) {
    this.tracker = this.newTracker()
    this.settings = replayed.settings
    this.sites = { localMirrorUuid: context.local.mirrorUuid, remoteMirrorUuid: context.remote.mirrorUuid }
    this.committedAt = this.lookedAt = context.clock.monotonic()
  }

  async run(signal: AbortSignal): Promise<ReplayEnd> {
    await using scope = new Scope(signal)
    const stopListening = this.listen(scope)
    try {
      const end = await this.replay(scope.signal)
      await this.wrapUp()
      return end
    } catch (error) {
      await this.wrapUp()
      if (this.end) return this.end
      if (signal.aborted && isCancelled(error)) return { type: 'stopped' }
      return await this.endOf(error)
    } finally {
      stopListening()
      this.cancelIdleCommit?.()
      for (const { resolve } of this.flushes) resolve()
      this.flushes = []
      await this.close()
    }
  }

  async flush(): Promise<void> {
    const flushed = new Promise<void>((resolve, reject) => this.flushes.push({ resolve, reject }))
    this.wakeUp.wake()
    await flushed
  }

  private listen(scope: Scope): () => void {
    const { local, localJournal, remoteJournal, client } = this.replayed
    const lost = (error: Error) => {
      this.lost = error
      this.wakeUp.wake()
    }
    const stop = (end: ReplayEnd) => {
      this.end ??= end
      scope.cancel('replay has ended')
    }
    let looking = false
    const ownershipMayHaveChanged = () => {
      if (looking) return
      looking = true
      scope.spawn('look at the local journal', async () => {
        try {
          await localJournal.refresh()
        } finally {
          looking = false
        }
        if (localJournal.isOwner) stop({ type: 'localPromoted' })
        else if (localJournal.resyncRequested && !this.resyncing) stop({ type: 'resyncDue' })
      })
    }
    const stops = [
      local.onLost(lost),
      local.lock?.onLost(lost),
      localJournal.subscribe(ownershipMayHaveChanged),
      remoteJournal.metadata.subscribe(() => {
        if (client.state !== 'connected' && !this.resyncing) stop(this.disconnected())
      }),
    ]
    ownershipMayHaveChanged()
    return () => stops.forEach((end) => end?.())
  }

  /** From where the client of the remote journal is: a resync begins it anew. */
  private newTracker(): CommitTracker {
    const { client, remoteJournal } = this.replayed
    return new CommitTracker(client.committed, remoteJournal.metadata.splayWidth)
  }

  private get resyncing(): boolean {
    const copy = this.replayed.sync?.copy
    return copy !== undefined && 'running' in copy && copy.running
  }

  private disconnected(): ReplayEnd {
    if (this.replayed.client.state === undefined) return { type: 'failed', description: 'error retrieving remote journal client', error: undefined }
    return this.settings.resyncAfterDisconnect ? { type: 'resyncDue' } : { type: 'disconnected' }
  }

  private async replay(signal: AbortSignal): Promise<ReplayEnd> {
    const { local, remoteJournal, client, sync } = this.replayed
    this.reportName()
    const refusal = await describing('failed to lock local image', () => this.takeLock(signal))
    if (refusal) return refusal
    if (sync) {
      await sync.copy.run(signal)
      this.tracker = this.newTracker()
      await this.loadSettings()
    }
    await this.loadTags()
    const leave = this.context.limits.journalMemory.join()
    const { player, detach } = remoteJournal.play(client.committed, this.playerLimits(), this.wakeUp)
    try {
      this.report()
      for (;;) {
        signal.throwIfAborted()
        if (this.lost) throw this.lost
        const played = await abortable(player.read(), signal)
        // as long as something is applied, the lock can't be given away
        if (played.type === 'entries') await local.lock!.use(() => this.replayEntries(played.entries, signal))
        else if (played.type !== 'idle') return this.endOfJournal(played)
        else await this.settle(signal)
        if (this.demoted) return { type: 'remoteDemoted' }
        await this.serveFlushes()
        await this.lookForPromotion()
        if (played.type === 'idle') await player.wait(signal)
      }
    } finally {
      detach()
      leave()
    }
  }

  /** Who promotes this site tells us; but a notification may get lost, or the watch. */
  private async lookForPromotion(): Promise<void> {
    const now = this.context.clock.monotonic()
    if (now - this.lookedAt < SAFETY_LOOK_MS) return
    this.lookedAt = now
    await describing('error accessing local journal', () => this.replayed.localJournal.journal.metadata.refresh())
  }

  /** Half of what this journal may hold is for what has been fetched, half for what waits to be written. */
  private playerLimits(): PlayerLimits {
    const { options, limits } = this.context
    const { splayWidth } = this.replayed.remoteJournal.metadata
    const half = () => limits.journalMemory.share / 2
    return {
      get maxFetchBytes() {
        return Math.min(MAX_FETCH_BYTES, Math.max(MIN_FETCH_BYTES, Math.floor(half() / splayWidth)))
      },
      get maxBatchBytes() {
        return half()
      },
      get maxPollMs() {
        return options.journalPollAge * 1000
      },
    }
  }

  /** Nothing more is there: what was replayed becomes safe, then committed. */
  private async settle(signal: AbortSignal): Promise<void> {
    await this.makeSafe()
    if (this.uncommitted) {
      const due = this.committedAt + IDLE_COMMIT_MS - this.context.clock.monotonic()
      if (due <= 0) await abortable(this.commit(), signal)
      else this.wakeIn(due)
    }
    this.report()
  }

  private wakeIn(ms: number): void {
    this.cancelIdleCommit ??= this.context.clock.setTimer(ms, () => {
      this.cancelIdleCommit = undefined
      this.wakeUp.wake()
    })
  }

  private async replayEntries(entries: readonly PlayedEntry[], signal: AbortSignal): Promise<void> {
    const { applier } = this.replayed
    const { clock, options, limits } = this.context
    for (const entry of entries) {
      if (entry.tagTid !== this.tagTid) await this.enterTag(entry.tagTid)
      const { event, timestamp } = decodeEvent(entry)
      const writtenAt = utimeToMs(timestamp)
      if (this.settings.replayDelayMs > 0) await this.holdBack(writtenAt, signal)
      if (this.batch.entries++ === 0) this.batch.startedAt = clock.monotonic()
      this.batch.bytes += entry.data.length
      const outcome = await applier.apply(event)
      this.tracker.add(entry, applier.unfinished > 0)
      if (writtenAt > this.newestTimestamp) this.newestTimestamp = writtenAt
      if (outcome === 'safe') this.safe()
      else if (this.batch.bytes >= limits.journalMemory.share / 2) await this.makeSafe()
      if (event.type === 'opFinish') {
        this.reportName()
        await this.loadSettings()
        // done again after what follows it, it would do harm: a snapshot that was renamed since would be made anew
        await this.makeSafe()
        await abortable(this.commit(), signal)
      }
      if (event.type === 'demotePromote' && this.tags.get(entry.tagTid)?.mirrorUuid === ORPHAN_MIRROR_UUID) {
        this.demoted = true
        return
      }
    }
    signal.throwIfAborted()
    if (this.lost) throw this.lost
    if (this.uncommitted && clock.monotonic() - this.committedAt >= options.journalCommitAge * 1000) await this.commit()
    this.report()
  }

  /** The primary's epoch changes: everything of the old one is done, and our own journal notes who owns the image now. */
  private async enterTag(tid: bigint): Promise<void> {
    const { applier, remoteJournal, localJournal } = this.replayed
    if (this.tagTid !== undefined) {
      await applier.finishTag()
      this.safe()
    }
    const data = this.tags.get(tid) ?? (await describing('failed to retrieve remote tag', () => this.fetchTag(tid)))
    this.tags.set(tid, data)
    const { data: known } = localJournal.ownership
    const wanted = localTagFor(data, this.sites)
    const noted = sameTag(known, wanted) || (data.mirrorUuid === ORPHAN_MIRROR_UUID && isOwnDemotion(known))
    if (!noted) await describing('failed to allocate journal tag', () => this.noteTag(wanted))
    this.context.log.debug({ tag: String(tid), owner: wanted.mirrorUuid, journal: remoteJournal.metadata.oid }, 'new tag')
    this.tagTid = tid
  }

  /** Whoever has promoted this site meanwhile keeps it. */
  private async noteTag(data: TagData): Promise<void> {
    const { localJournal } = this.replayed
    try {
      await localJournal.followTag(data)
    } catch (error) {
      if (isErrno(error, Errno.ESTALE) && (await localJournal.refresh()).data.mirrorUuid === LOCAL_MIRROR_UUID) this.end ??= { type: 'localPromoted' }
      throw error
    }
  }

  private async fetchTag(tid: bigint): Promise<TagData> {
    const { metadata } = this.replayed.remoteJournal
    return decodeTag(await getTag(metadata.io, metadata.journalId, tid))
  }

  /** For the status: which tag follows which. */
  private async loadTags(): Promise<void> {
    const { metadata } = this.replayed.remoteJournal
    const history = await describing('failed to retrieve remote tag', () =>
      loadHistory(metadata.io, metadata.journalId, this.context.local.mirrorUuid),
    )
    for (const { tid, data } of history) this.tags.set(tid, data)
  }

  private async holdBack(writtenAt: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.context
    if (writtenAt + this.settings.replayDelayMs <= clock.now()) return
    await this.makeSafe()
    await abortable(this.commit(), signal)
    this.report()
    const wait = writtenAt + this.settings.replayDelayMs - clock.now()
    if (wait > 0) await delay(clock, wait, signal)
  }

  private async makeSafe(): Promise<void> {
    const { local, applier } = this.replayed
    if (!applier.clean) await local.lock!.use(() => applier.flush())
    this.safe()
  }

  /** Everything that was applied is on stable storage. */
  private safe(): void {
    const { clock, metrics } = this.context
    const { entries, bytes, startedAt } = this.batch
    this.tracker.safe(this.replayed.applier.unfinished > 0)
    if (entries === 0) return
    const now = clock.monotonic()
    this.uncommitted = true
    this.entryRate.add(now, entries)
    this.byteRate.add(now, bytes)
    metrics.addEntries(entries, ((now - startedAt) / 1000) * entries)
    metrics.addBytes(bytes)
    if (this.newestTimestamp > 0) metrics.setTimestamps({ replicated: this.newestTimestamp / 1000 })
    this.batch = { entries: 0, bytes: 0, startedAt: 0 }
  }

  private async commit(): Promise<void> {
    this.committedAt = this.context.clock.monotonic()
    this.uncommitted = false
    const { positions } = this.tracker
    if (positions.length === 0) return
    await describing('failed to commit journal event', () => this.replayed.client.commit(positions))
    await this.replayed.remoteJournal.trim()
  }

  private async serveFlushes(): Promise<void> {
    if (this.flushes.length === 0) return
    const waiting = this.flushes
    this.flushes = []
    try {
      await this.makeSafe()
      await this.commit()
      this.report(true)
      for (const { resolve } of waiting) resolve()
    } catch (error) {
      for (const { reject } of waiting) reject(error as Error)
      throw error
    }
  }

  private async takeLock(signal: AbortSignal): Promise<ReplayEnd | undefined> {
    const { lock, usesLock } = this.replayed.local
    if (!lock || !usesLock) return { type: 'failed', description: 'local image does not support exclusive lock', error: undefined }
    return takeImageLock(lock, this.context.clock, signal)
  }

  /** They come with the image's metadata. */
  private async loadSettings(): Promise<void> {
    this.settings = await loadImageSettings(this.replayed.local, this.context.options)
  }

  private reportName(): void {
    const { name } = this.replayed.local.header
    if (name === this.name) return
    this.name = name
    this.context.report({ type: 'name', name })
  }

  private report(always = false): void {
    const { clock, metrics } = this.context
    const now = clock.monotonic()
    const idle = this.tracker.pending === 0 && this.batch.entries === 0
    if (!always && !idle && now - this.reportedAt < REPORT_MS) return
    this.reportedAt = now
    const positions = {
      primary: this.replayed.remoteJournal.client(IMAGE_CLIENT_ID)?.commitPosition.objectPositions[0],
      nonPrimary: this.tracker.positions[0],
    }
    const behind = entriesBehind(positions, this.tags)
    metrics.setEntriesBehind(behind)
    const rates = { bytesPerSecond: this.byteRate.perSecond(now), entriesPerSecond: this.entryRate.perSecond(now) }
    this.context.report({ type: 'replaying', description: replayDescription(positions, behind, rates) })
  }

  private endOfJournal(played: Exclude<Played, { type: 'entries' | 'idle' }>): ReplayEnd {
    const { metadata } = this.replayed.remoteJournal
    const oid = journalDataName(journalDataPrefix(metadata.io.poolId, metadata.journalId), played.objectNumber)
    const detail =
      played.type === 'corrupt'
        ? `corrupt entry in ${oid} at byte ${played.offset}: ${played.detail}`
        : `entry ${played.entryTid} of tag ${played.tagTid} is missing before what is in ${oid}`
    return {
      type: 'failed',
      description: `replay completed with error: ${detail}; disable and enable mirroring of the primary image, which gives it a new journal`,
      error: new MalformedInput(`journal ${metadata.oid}`, detail),
    }
  }

  private async endOf(error: unknown): Promise<ReplayEnd> {
    if (error instanceof UnknownOutcome) return this.compareInstead(error)
    if (error instanceof UnreplayableEvent) return { type: 'failed', description: error.message, error }
    if (error instanceof MalformedInput) return { type: 'failed', description: `failed to decode journal event: ${error.message}`, error }
    return endOfFailure(error)
  }

  /** The local image has nothing of its own: what an event has made of the primary is found by comparing the two. */
  private async compareInstead(error: UnknownOutcome): Promise<ReplayEnd> {
    const { context } = this
    const { localJournal } = this.replayed
    if (context.options.resyncMode === 'recreate') return { type: 'failed', description: `${error.message}: request a resync of this image`, error }
    try {
      await localJournal.refresh()
      if (localJournal.isOwner) return { type: 'localPromoted' }
      await localJournal.requestResync()
    } catch (failure) {
      return endOfFailure(failure)
    }
    context.log.warn({ reason: error.message }, 'the local image is compared with its primary')
    return { type: 'resyncDue' }
  }

  /** Commits what is safe already; what is not will be replayed again. */
  private async wrapUp(): Promise<void> {
    if (!this.uncommitted) return
    const { clock, log } = this.context
    const tooLong = new AbortController()
    const cancel = clock.setTimer(2_000, () => tooLong.abort(new Cancelled('the remote cluster does not answer')))
    try {
      await abortable(this.commit(), tooLong.signal)
    } catch (error) {
      if (isErrno(error, EBLOCKLISTED)) throw error
      log.debug({ err: error }, 'commit position not noted')
    } finally {
      cancel()
    }
  }

  /** The local one first: the remote cluster may be out of reach. */
  private async close(): Promise<void> {
    const { local, localJournal, remoteJournal, sync } = this.replayed
    const { log } = this.context
    for (const [what, opened] of [
      ['local image', local],
      ['local journal', localJournal],
      ['remote image', sync?.image],
      ['remote journal', remoteJournal],
    ] as const) {
      await opened?.close().catch((error: unknown) => log.debug({ err: error }, `${what} not closed cleanly`))
    }
  }
}

function decodeEvent(entry: PlayedEntry): EventEntry {
  return decode(EventEntry, entry.data, `journal entry ${entry.entryTid} of tag ${entry.tagTid}`)
}

function sameTag(a: TagData, b: TagData): boolean {
  const [p, q] = [a.predecessor, b.predecessor]
  return (
    a.mirrorUuid === b.mirrorUuid &&
    p.mirrorUuid === q.mirrorUuid &&
    p.commitValid === q.commitValid &&
    p.tagTid === q.tagTid &&
    p.entryTid === q.entryTid
  )
}

