import type { Log } from '../../base/log.ts'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { RBD_MIRRORING } from '../names.ts'
import { encodeMirroringMessage, type MirroringMessage } from '../notify/mirroring-messages.ts'

/** Watchers of a pool's mirroring have this long to answer (librbd/MirroringWatcher.cc). */
const timeoutMs = 5_000

/** Tells whoever watches a pool's mirroring of a change. A failure is no error: daemons look by themselves from time to time. */
export async function notifyMirroring(io: IoCtx, message: MirroringMessage, log: Log): Promise<void> {
  try {
    await io.notify(RBD_MIRRORING, encodeMirroringMessage(message), timeoutMs)
  } catch (error) {
    log.debug({ error: String(error) }, 'mirroring watchers not told')
  }
}
