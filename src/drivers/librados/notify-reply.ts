import { Decoder } from '../../encoding/decoder.ts'
import type { NotifyResult } from '../../rados/io-ctx.ts'

/** The reply of a notify: acknowledgements by {client, cookie}, then who did not answer (MWatchNotify as the OSD fills it, PrimaryLogPG.cc). */
export function decodeNotifyReply(reply: Buffer): NotifyResult {
  if (reply.length === 0) return { acks: [], timeouts: [] }
  const decoder = new Decoder(reply, 'notify reply')
  const acks = Array.from({ length: decoder.count() }, () => ({
    notifierId: decoder.u64(),
    cookie: decoder.u64(),
    payload: Buffer.from(decoder.bytes()),
  }))
  const timeouts = Array.from({ length: decoder.count() }, () => ({ notifierId: decoder.u64(), cookie: decoder.u64() }))
  return { acks, timeouts }
}
