import { connect } from 'node:net'

const TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** Asks an admin socket as `ceph --admin-daemon` does. Rejects with the system's error, or when there is no whole answer in time. */
export function askAdminSocket(path: string, request: Readonly<Record<string, unknown>>): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const socket = connect(path)
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)))
    socket.once('connect', () => socket.write(`${JSON.stringify(request)}\0`))
    socket.on('data', (chunk) => {
      bytes += chunk.length
      if (bytes > MAX_ANSWER_BYTES) socket.destroy(new Error('the answer is too long'))
      else chunks.push(chunk)
    })
    socket.once('error', reject)
    socket.once('close', () => {
      const answer = Buffer.concat(chunks)
      if (answer.length < 4 || answer.length < 4 + answer.readUInt32BE(0)) reject(new Error('the answer breaks off'))
      else resolve(answer.toString('utf8', 4, 4 + answer.readUInt32BE(0)))
    })
  })
}
