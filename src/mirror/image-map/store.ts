import { mirrorImageMapList, mirrorImageMapRemove, mirrorImageMapUpdate } from '../../cls/rbd/mirror-client.ts'
import { utimeFromMs, utimeToMs } from '../../encoding/codec.ts'
import { Errno, isErrno } from '../../rados/errors.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { RBD_MIRROR_LEADER } from '../../rbd/names.ts'
import { NO_POLICY_DATA } from './policy-data.ts'
import type { MappedImage, MapTask } from './policy.ts'

const PAGE = 1024
/** Of one write operation (tools/rbd_mirror/image_map/UpdateRequest.cc). */
const MAX_CHANGES = 256

/** The map of a namespace as the last leader wrote it, by global image id. */
export async function loadImageMap(io: IoCtx): Promise<Map<string, MappedImage>> {
  const map = new Map<string, MappedImage>()
  try {
    for (let startAfter = ''; ; ) {
      const found = await mirrorImageMapList.call(io, RBD_MIRROR_LEADER, { startAfter, max: PAGE })
      for (const [globalImageId, { instanceId, mappedTime }] of found) {
        startAfter = globalImageId
        if (instanceId !== '') map.set(globalImageId, { instanceId, mappedAt: utimeToMs(mappedTime) })
      }
      if (found.size < PAGE) return map
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return map
    throw error
  }
}

/** Writes `update` and `remove` tasks; what is done may be done again. */
export async function writeImageMap(io: IoCtx, tasks: readonly MapTask[]): Promise<void> {
  for (let from = 0; from < tasks.length; from += MAX_CHANGES) {
    const operation = new WriteOperation()
    for (const { action, globalImageId, instanceId, mappedAt } of tasks.slice(from, from + MAX_CHANGES)) {
      if (action === 'remove') mirrorImageMapRemove.step(operation, { globalImageId })
      else mirrorImageMapUpdate.step(operation, { globalImageId, map: { instanceId, mappedTime: utimeFromMs(mappedAt), data: NO_POLICY_DATA } })
    }
    await io.write(RBD_MIRROR_LEADER, operation)
  }
}
