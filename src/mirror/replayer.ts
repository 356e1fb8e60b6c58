import type { MirrorImageMode } from '../cls/rbd/mirror-types.ts'
import type { ImageContext } from './image-context.ts'

/**
 * Why an image's replay (or its bootstrap) ended. Everything but `failed` is an outcome of the domain, not an error.
 * How each is shown to the operator stands in one table: see `image-status.ts`.
 */
export type ReplayEnd =
  /** the signal was aborted */
  | { type: 'stopped' }
  | { type: 'localPrimary' }
  /** the remote image is not primary and the local one is absent or not linked to it */
  | { type: 'remoteNotPrimary' }
  /** everything up to the remote's demotion has been replayed */
  | { type: 'remoteDemoted' }
  /** the local image was promoted under us */
  | { type: 'localPromoted' }
  /** a non-primary local image whose primary is gone or unlinked is being force promoted */
  | { type: 'orphan' }
  /** `reason` is the text for the operator: `split-brain`, `split-brain detected`, `local image linked to unknown peer` … */
  | { type: 'splitBrain'; reason: string }
  /** both sides mirror the image, each in its own mode */
  | { type: 'modesDiffer'; local: MirrorImageMode; remote: MirrorImageMode; remotePrimary: boolean }
  /** the journal client was flagged disconnected */
  | { type: 'disconnected' }
  /** a resync is asked for: the local image is to be moved to the trash and bootstrapped anew */
  | { type: 'resyncRequested' }
  /** a resync is asked for, which begins with a new bootstrap of the same image */
  | { type: 'resyncDue' }
  /** a resync is asked for, and the remote has nothing yet that it could be done from */
  | { type: 'resyncWaits'; for: 'primary' | 'snapshot' }
  /** the remote image is gone or its mirroring disabled, the local one is non-primary and linked to it: to be deleted */
  | { type: 'remoteGone'; localImageId: string }
  /** the local image was never finished (mirror image state CREATING): to be moved to the trash and bootstrapped anew */
  | { type: 'localIncomplete' }
  /** neither side has a mirror image with this global id */
  | { type: 'imageGone' }
  /** an image in a passing state (being disabled, being created on the remote): try again soon */
  | { type: 'transient'; reason: string }
  /** `description` is the text for the operator, e.g. `failed to copy remote image` */
  | { type: 'failed'; description: string; error: unknown }

/**
 * Replays one image until something ends it. Made by a bootstrap with both images open.
 * Watches and timers of its own wake it; a lost watch is renewed by it.
 */
export interface Replayer {
  /** Called once, also when the signal is aborted already; closes all that was opened before it resolves. */
  run(signal: AbortSignal): Promise<ReplayEnd>
  /** Brings the replica (or, in journal mode, the commit position) up to what is known now; resolves when that is done. */
  flush(): Promise<void>
}

/** What a bootstrap makes of an image: either a replayer to run, or an end without one. */
export type BootstrapEnd = { type: 'replay'; replayer: Replayer } | ReplayEnd

/**
 * Observes both sides of an image and prepares the replay: creates the local image when it is to be created, opens both.
 * Rejects only on cancellation; failures are `failed` ends.
 */
export type Bootstrap = (context: ImageContext, signal: AbortSignal) => Promise<BootstrapEnd>

/** What keeps an image from being replayed and passes by itself; the message tells what it is. */
export class PassingFailure extends Error {
  override name = 'PassingFailure'
}
