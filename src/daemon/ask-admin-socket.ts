import { connect } from 'node:net'

/**
 * Asks an admin socket as `ceph --admin-daemon` does: a JSON object and a NUL there, a big-endian 32-bit length and the text back. Resolves with
 * the raw text. Rejects with what keeps it from an answer within `timeoutMs`.
 */
export function askAdminSocket(path: string, prefix: string, args: Readonly<Record<string, unknown>> = {}, timeoutMs = 10_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(path)
    const late = setTimeout(() => socket.destroy(new Error(`${path}: no answer to '${prefix}' within ${timeoutMs} ms`)), timeoutMs)
    socket.once('connect', () => socket.write(`${JSON.stringify({ prefix, ...args })}\0`))
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('error', reject)
    socket.once('close', () => {
      clearTimeout(late)
      const answer = Buffer.concat(chunks)
      if (answer.length < 4 || answer.length < 4 + answer.readUInt32BE(0)) reject(new Error(`${path}: short answer to '${prefix}'`))
      else resolve(answer.subarray(4, 4 + answer.readUInt32BE(0)).toString())
    })
  })
}
