import { Backoff } from '../../base/backoff.ts'
import { delay } from '../../base/clock.ts'
import { Errno, isErrno, RadosError } from '../../rados/errors.ts'
import type { ExclusiveLock } from '../exclusive-lock.ts'
import { FEATURE_NON_PRIMARY, hasFeature } from '../features.ts'
import type { OperationRequest, Progress } from '../header-watcher.ts'
import type { Image } from '../image.ts'
import { IMAGE_META_PREFIX } from '../mirror/image-meta.ts'
import { operationStart, saysDoneBefore, type OperationStart } from '../journal/operation-events.ts'

export interface OperationOptions {
  signal?: AbortSignal | undefined
  progress?: Progress | undefined
}

/** Owners that come and go, or fall silent, are asked so many times in all. */
const maxTries = 10
const firstPauseMs = 50
const maxPauseMs = 2_000

/** An error that an operation gives as a cluster would, e.g. EEXIST for a snapshot name that is taken. */
export function operationError(image: Image, errno: number, op: string): RadosError {
  const { clusterName, poolName, namespace } = image.io
  return new RadosError(errno, { op, cluster: clusterName, pool: poolName, namespace, oid: image.headerOid })
}

/**
 * Changes an image the way librbd does (librbd/Operations.cc, C_InvokeAsyncRequest): whoever has the exclusive lock does it.
 *
 *     refresh → lock feature off, or lock ours ──────────────→ local
 *             → lock free or its owner dead → take it ───────→ local → give it back
 *             → owner lives → ask it ─ done / its error
 *                                    ├ can't do it → get the lock from it → local
 *                                    └ silent, or no longer the owner → again
 *
 * Rejects with RadosError: EROFS for a read-only image or a lock that is not to be had, else what the operation answers.
 * An owner that falls silent may still have done it: `local` and `request` have to bear being done twice, or fail as something that is done already.
 */
export async function invoke(
  image: Image,
  operation: { name: string; local: () => Promise<void>; request: OperationRequest },
  options: OperationOptions = {},
): Promise<void> {
  const { lock, watcher } = image
  if (!lock || !watcher) throw operationError(image, Errno.EROFS, operation.name)
  let demandLock = false
  let askedInVain = false
  const { clock, random } = image.options
  const backoff = new Backoff(random, firstPauseMs, maxPauseMs)
  for (let tries = 1; ; tries++) {
    options.signal?.throwIfAborted()
    await image.refreshIfNeeded()
    if (!isOfMirroring(operation.request)) requirePrimary(image, operation.name)
    if (!image.usesLock) return gated(image, operation.local)
    const taken = await takeLock(image, lock, operation.name, demandLock, options.signal)
    if (taken === 'refused' || taken === 'foreign') throw operationError(image, Errno.EROFS, operation.name)
    const start = operationStart(image, operation.request)
    try {
      if (taken === 'acquired') return await withLock(lock, () => recorded(image, start, operation.local))
      await watcher.request(operation.request, options)
      await image.refresh()
      return
    } catch (error) {
      // the owner that fell silent had done it
      if (askedInVain && start && saysDoneBefore(error, start)) return void (await image.refresh())
      demandLock = isErrno(error, Errno.EOPNOTSUPP)
      askedInVain ||= isErrno(error, Errno.ETIMEDOUT)
      if (tries === maxTries || !(demandLock || isErrno(error, Errno.ETIMEDOUT, Errno.ERESTART))) throw error
      // who has the lock does not answer before it has read the object map, too
      if (isErrno(error, Errno.ETIMEDOUT)) await delay(clock, backoff.step(), options.signal)
    }
  }
}

/** A replica in snapshot mode is not for its users to change: EROFS. What mirroring does with it is not asked. */
export function requirePrimary(image: Image, op: string): void {
  if (image.options.journaled && hasFeature(image.header.features, FEATURE_NON_PRIMARY)) throw operationError(image, Errno.EROFS, op)
}

/** Mirror-snapshots, notes that mirroring keeps, and what clones leave in the trash, come and go on replicas too, and with the demotion itself. */
function isOfMirroring(request: OperationRequest): boolean {
  if (request.type === 'metadataUpdate') return request.key.startsWith(IMAGE_META_PREFIX)
  return 'namespace' in request && (request.namespace.type === 'mirror' || request.namespace.type === 'trash')
}

/** An image that is not primary has a lock that nobody may have for changing it. */
async function takeLock(image: Image, lock: ExclusiveLock, name: string, demand: boolean, signal: AbortSignal | undefined) {
  try {
    return demand ? await lock.acquire({ signal, keep: false }) : await lock.tryAcquire(signal)
  } catch (error) {
    if (isErrno(error, Errno.EPERM)) throw operationError(image, Errno.EROFS, name)
    throw error
  }
}

/** Does an operation between writes, as the holder of the lock, and has it recorded in the journal if there is one. */
export function recorded<T>(image: Image, start: OperationStart | undefined, task: () => Promise<T>): Promise<T> {
  return gated(image, () => (start && image.journal ? image.journal.operation(start, task) : task()))
}

function gated<T>(image: Image, task: () => Promise<T>): Promise<T> {
  return image.gate.operate(task)
}

/** As the holder of the lock, which is given back unless it was wanted before. */
export async function invokeHere<T>(image: Image, name: string, start: OperationStart | undefined, task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const { lock } = image
  if (!lock) throw operationError(image, Errno.EROFS, name)
  await image.refreshIfNeeded()
  requirePrimary(image, name)
  if (!image.usesLock) return gated(image, task)
  const taken = await takeLock(image, lock, name, true, signal)
  if (taken !== 'acquired') throw operationError(image, Errno.EROFS, name)
  return withLock(lock, () => recorded(image, start, task))
}

/** A lock that was free before is given back at once, so that the image's user need not ask for it. */
async function withLock<T>(lock: ExclusiveLock, task: () => Promise<T>): Promise<T> {
  try {
    return await lock.use(task)
  } finally {
    if (!lock.wanted) await lock.release()
  }
}

/** Changes the header one at a time, tells the peers, and reads it again. */
export async function changeHeader(image: Image, change: () => Promise<void>): Promise<void> {
  await image.operations.run('header', async () => {
    await image.refreshIfNeeded()
    try {
      await change()
    } catch (error) {
      // what was done of it, or whether it was, only the cluster knows
      image.headerDoubtful()
      throw error
    }
    await image.headerChanged()
  })
}
