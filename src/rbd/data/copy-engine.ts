import type { Log } from '../../base/log.ts'
import type { Semaphore } from '../../base/semaphore.ts'
import type { IoCtx, SnapId } from '../../rados/io-ctx.ts'
import type { ImageHeader } from '../header.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { CopyStep } from './copy-steps.ts'
import type { ObjectMap } from './object-map.ts'

/** One image of a copy. The io contexts stay the caller's; views that the copy needs are duplicated from them and closed by it. */
export interface CopySide {
  /** pool and namespace of the header and the object maps */
  io: IoCtx
  /** pool and namespace of the data objects */
  data: IoCtx
  /** as it is when the copy starts: of the destination after its new snapshots were made */
  header: ImageHeader
}

export interface CopyProgress {
  /** Objects below this number are whole at the destination, object maps included, on stable storage. */
  objects: number
  totalObjects: number
  /** bytes read from the source so far in this run */
  bytesRead: number
}

export interface CopyResult {
  objectsExamined: number
  bytesRead: number
  bytesWritten: number
}

export interface CopyRequest {
  source: CopySide
  destination: CopySide
  /** the source's snapshot that the destination's head was equal to before; 0 for a destination without anything */
  fromSnap: SnapId
  /** from {@link planSteps}; the last one goes to the head */
  steps: readonly CopyStep[]
  /** The first object to copy: what an earlier run of the same steps reported as `objects`. */
  resumeFrom?: number | undefined
  /** objects in flight (rbd_concurrent_management_ops) */
  concurrency: number
  /** bytes in flight, shared by all copies of the process */
  byteBudget: Semaphore
  buffers: BufferPool
  /** the destination head's, open (locked) for the time of the copy; undefined if the image has none */
  objectMap: ObjectMap | undefined
  /** Called whenever `objects` has grown. Cheap things only; must not throw. */
  onProgress?(progress: CopyProgress): void
  /** Ends the copy with the signal's reason; writes under way are awaited, reads are not. */
  signal?: AbortSignal | undefined
  log: Log
}

/**
 * Makes the destination's head, and the snapshots that the steps name, equal to the source's. Neither image may change meanwhile: the
 * source is read at snapshots, the destination is locked by the caller. Rejects with RadosError, or the signal's reason; a later run with
 * the same steps goes on where this one was.
 */
export type CopyImage = (request: CopyRequest) => Promise<CopyResult>
