import type { TrashImageSpec } from '../cls/rbd/types.ts'
import { utimeToMs } from '../encoding/codec.ts'

/** Milliseconds for which an image still stays in the trash: where clocks differ, or have jumped, never longer than it was meant to. */
export function deferredMs({ deletionTime, defermentEndTime }: Pick<TrashImageSpec, 'deletionTime' | 'defermentEndTime'>, now: number): number {
  const end = utimeToMs(defermentEndTime)
  return Math.max(0, Math.min(end - now, end - utimeToMs(deletionTime)))
}

/** An image in the trash that mirroring put there. */
export interface Deletion {
  readonly imageId: string
  /** monotonic milliseconds */
  dueAt: number
  retries: number
  /** errno of the last failure, positive; 0 for none yet */
  errno: number
  message: string
}

/** Which images are to be deleted, and when. */
export class DeletionQueue {
  private readonly entries = new Map<string, Deletion>()
  private readonly running = new Set<string>()

  /** An image that is known already keeps its time. */
  add(imageId: string, dueAt: number): void {
    if (this.entries.has(imageId) || this.running.has(imageId)) return
    this.entries.set(imageId, { imageId, dueAt, retries: 0, errno: 0, message: '' })
  }

  /** Takes out what is due by `now`. */
  takeDue(now: number): Deletion[] {
    const due = [...this.entries.values()].filter(({ dueAt }) => dueAt <= now)
    for (const deletion of due) {
      this.entries.delete(deletion.imageId)
      this.running.add(deletion.imageId)
    }
    return due
  }

  done(deletion: Deletion): void {
    this.running.delete(deletion.imageId)
  }

  failed(deletion: Deletion, dueAt: number, errno: number, message: string): void {
    this.running.delete(deletion.imageId)
    this.entries.set(deletion.imageId, { ...deletion, dueAt, errno, message, retries: deletion.retries + 1 })
  }

  /** When the next one is due; undefined while nothing waits. */
  nextDue(): number | undefined {
    let next: number | undefined
    for (const { dueAt } of this.entries.values()) if (next === undefined || dueAt < next) next = dueAt
    return next
  }

  /** As the admin socket shows it (tools/rbd_mirror/ImageDeleter.cc). */
  status(): { delete_images_queue: unknown[]; failed_deletes_queue: unknown[] } {
    const failed = [...this.entries.values()].map(({ imageId, message, retries }) => ({ image_id: imageId, error_code: message, retries }))
    return { delete_images_queue: [...this.running].map((imageId) => ({ image_id: imageId })), failed_deletes_queue: failed }
  }
}
