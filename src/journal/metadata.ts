import type { Log } from '../base/log.ts'
import * as cls from '../cls/journal/client.ts'
import { JOURNAL_MAX_RETURN, type Client } from '../cls/journal/types.ts'
import type { IoCtx, Watch } from '../rados/io-ctx.ts'
import { ReadOperation } from '../rados/operation.ts'
import { journalHeaderName } from './names.ts'

/** Watchers have this long to answer a notification (JournalMetadata.cc). */
export const NOTIFY_TIMEOUT_MS = 5_000

export interface JournalMetadataOptions {
  /** of the header: the image's own pool and namespace */
  io: IoCtx
  journalId: string
  log: Log
}

/**
 * A journal's header as it was last read: its immutable layout, its object sets, its clients. Read anew by `refresh`, and whenever
 * somebody notifies the header's watchers of a change (JournalMetadata.cc).
 */
export class JournalMetadata {
  private sets = { minimum: 0, active: 0 }
  private clientsById: ReadonlyMap<string, Client> = new Map()
  private tagTid = 0n
  private watch: Watch | undefined
  private refreshing: Promise<void> | undefined
  private refreshDue = false
  private closed = false
  private readonly listeners = new Set<() => void>()
  readonly oid: string

  private constructor(
    private readonly options: JournalMetadataOptions,
    /** log2 of a data object's size */
    readonly order: number,
    readonly splayWidth: number,
    /** -1 where the data lies in the header's pool */
    readonly poolId: bigint,
  ) {
    this.oid = journalHeaderName(options.journalId)
  }

  /** ENOENT without a journal. */
  static async open(options: JournalMetadataOptions): Promise<JournalMetadata> {
    const operation = new ReadOperation()
    const order = cls.getOrder.step(operation, undefined)
    const splayWidth = cls.getSplayWidth.step(operation, undefined)
    const poolId = cls.getPoolId.step(operation, undefined)
    const results = await options.io.read(journalHeaderName(options.journalId), operation)
    const metadata = new JournalMetadata(
      options,
      cls.getOrder.result(results, order),
      cls.getSplayWidth.result(results, splayWidth),
      cls.getPoolId.result(results, poolId),
    )
    try {
      await metadata.refresh()
    } catch (error) {
      await metadata.close()
      throw error
    }
    return metadata
  }

  get io(): IoCtx {
    return this.options.io
  }

  get journalId(): string {
    return this.options.journalId
  }

  /** bytes */
  get objectSize(): number {
    return 2 ** this.order
  }

  /** The oldest object set that exists. */
  get minimumSet(): number {
    return this.sets.minimum
  }

  /** The object set that is being appended to. */
  get activeSet(): number {
    return this.sets.active
  }

  get clients(): ReadonlyMap<string, Client> {
    return this.clientsById
  }

  /** One more than the newest tag. */
  get nextTagTid(): bigint {
    return this.tagTid
  }

  /** `listener` is called after every reading of the header; the returned function ends that. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Reads the header; what is told afterwards is not older than this call. Watches it again if the watch was lost. */
  async refresh(): Promise<void> {
    if (this.refreshing) await this.refreshing.catch(() => undefined) // its failure is told to whoever started it
    this.refreshing ??= this.load().finally(() => (this.refreshing = undefined))
    await this.refreshing
  }

  /** Tells everybody who has the journal open that the header has changed. Failing to reach a watcher is no error: all of them poll. */
  async notify(): Promise<void> {
    try {
      await this.io.notify(this.oid, Buffer.alloc(0), NOTIFY_TIMEOUT_MS)
    } catch (error) {
      this.options.log.debug({ oid: this.oid, error: String(error) }, 'watchers of the journal not notified')
    }
  }

  async close(): Promise<void> {
    this.closed = true
    this.listeners.clear()
    await this.refreshing?.catch(() => undefined)
    await this.unwatch()
  }

  private async load(): Promise<void> {
    await this.ensureWatch()
    const operation = new ReadOperation()
    const minimum = cls.getMinimumSet.step(operation, undefined)
    const active = cls.getActiveSet.step(operation, undefined)
    const tag = cls.getNextTagTid.step(operation, undefined)
    const list = cls.clientList.step(operation, { startAfter: '', max: JOURNAL_MAX_RETURN })
    const results = await this.io.read(this.oid, operation)
    const clients = cls.clientList.result(results, list)
    for (let page = clients; page.length === JOURNAL_MAX_RETURN; ) {
      page = await cls.clientList.call(this.io, this.oid, { startAfter: page.at(-1)!.id, max: JOURNAL_MAX_RETURN })
      clients.push(...page)
    }
    this.sets = {
      minimum: Math.max(this.sets.minimum, cls.getMinimumSet.result(results, minimum)),
      active: Math.max(this.sets.active, cls.getActiveSet.result(results, active)),
    }
    this.tagTid = cls.getNextTagTid.result(results, tag)
    this.clientsById = new Map(clients.map((client) => [client.id, client]))
    for (const listener of this.listeners) listener()
  }

  private async ensureWatch(): Promise<void> {
    if (this.watch || this.closed) return
    const made: { watch?: Watch; lost: boolean } = { lost: false }
    made.watch = await this.io.watch(this.oid, {
      onNotify: (notification) => {
        notification.ack()
        this.refreshSoon()
      },
      onError: (error) => {
        this.options.log.info({ oid: this.oid, error: error.message }, 'journal watch lost')
        made.lost = true
        if (made.watch && this.watch === made.watch) void this.unwatch()
      },
    })
    this.watch = made.watch
    // it may be lost before we are told that it is there
    if (this.closed || made.lost) await this.unwatch()
  }

  private async unwatch(): Promise<void> {
    const watch = this.watch
    this.watch = undefined
    try {
      await watch?.close()
    } catch (error) {
      // it is lost anyway, and the OSD forgets it after its time-out
      this.options.log.debug({ oid: this.oid, error: String(error) }, 'journal unwatch failed')
    }
  }

  /** Notifications that come during a refresh are answered by one more. */
  private refreshSoon(): void {
    if (this.refreshDue || this.closed) return
    this.refreshDue = true
    const run = async () => {
      await this.refreshing?.catch(() => undefined)
      this.refreshDue = false
      if (!this.closed) await this.refresh()
    }
    run().catch((error: unknown) => this.options.log.debug({ oid: this.oid, error: String(error) }, 'journal not refreshed'))
  }
}
