import { headerName, mirrorInstanceName } from '../../src/rbd/names.ts'
import { findLocker } from '../../src/rbd/managed-lock.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { isErrno, Errno } from '../../src/rados/errors.ts'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import type { MirrorDaemon } from './daemon.ts'
import { waitFor } from './wait.ts'

/** The pool replayer's part of `rbd mirror status`, as far as it is about the daemons of a pool. */
export interface PoolStatus {
  readonly pool: string
  readonly instance_id: string
  readonly leader: boolean
  readonly leader_instance_id: string
  readonly instances?: readonly string[]
  readonly image_replayers: readonly { name: string; state: string }[]
}

/** Undefined while the daemon does not have the pool, or does not answer within `timeout` milliseconds. */
export async function statusOf(daemon: MirrorDaemon, pool: string, timeout = 2_000): Promise<PoolStatus | undefined> {
  try {
    const answer = await askAdminSocket(daemon.adminSocket, 'rbd mirror status', {}, timeout)
    const { pool_replayers: pools } = JSON.parse(answer) as { pool_replayers: PoolStatus[] }
    return pools.find((status) => status.pool === pool)
  } catch {
    return undefined
  }
}

/** Names of the images that the daemon says it replays. */
export async function replayedBy(daemon: MirrorDaemon, pool: string, timeout?: number): Promise<string[]> {
  const status = await statusOf(daemon, pool, timeout)
  return (status?.image_replayers ?? []).filter(({ state }) => state === 'Replaying').map(({ name }) => name)
}

/** Waits until these daemons together replay `count` images, none of them twice, and each at least `each` of them. */
export function waitUntilShared(daemons: readonly MirrorDaemon[], pool: string, count: number, options: { each: number; timeout?: number }): Promise<string[][]> {
  let seen: string[][] = []
  return waitFor(
    `${count} images to be shared by ${daemons.length} daemons`,
    async () => {
      seen = await Promise.all(daemons.map((daemon) => replayedBy(daemon, pool)))
      const all = seen.flat()
      return all.length === count && new Set(all).size === count && seen.every(({ length }) => length >= options.each) ? seen : undefined
    },
    { timeout: options.timeout ?? 30_000, interval: 100, detail: () => seen },
  )
}

/** Instance id of the client that has the image's exclusive lock; undefined when nobody has it. */
export async function lockOwner(io: IoCtx, imageId: string): Promise<string | undefined> {
  const found = await findLocker(io, headerName(imageId))
  return typeof found === 'object' ? String(found.clientId) : undefined
}

/** Whether anything is left of an instance in this pool. */
export async function instanceLeft(io: IoCtx, instanceId: string): Promise<boolean> {
  try {
    await io.stat(mirrorInstanceName(instanceId))
    return true
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return false
    throw error
  }
}
