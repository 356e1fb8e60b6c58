import { chmodSync, existsSync, lstatSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Log } from '../base/log.ts'
import { ConfigError } from '../config/config-error.ts'

const maxRequestBytes = 64 * 1024
/** Beyond these the oldest goes that no command runs for. */
const maxConnections = 32
/** A client that has not sent its whole request by then is dropped, and one that has not taken its whole answer and hung up. */
const clientTimeoutMs = 10_000
/** sun_path of sockaddr_un, without its closing NUL */
export const MAX_SOCKET_PATH_BYTES = 107

/** Requests of the oldest clients: four bytes, big endian. */
const legacyRequests = ['0', 'perfcounters_dump', 'perfcounters_schema']

/** Answers one request; must not reject. */
export type AdminHandler = (request: string) => Promise<string>

/**
 * The Unix socket that `ceph --admin-daemon PATH …` speaks to: one JSON object, ended by NUL or newline, per connection; the answer is
 * its length as 32 bits, big endian, and its bytes (common/admin_socket.cc).
 */
export class AdminSocket {
  private readonly connections = new Set<Socket>()
  /** Those that wait for their client, the oldest first. */
  private readonly idle = new Set<Socket>()

  private constructor(
    readonly path: string,
    private readonly server: Server,
    private readonly timeoutMs: number,
  ) {}

  /**
   * Replaces a socket that nobody listens on any more.
   * @throws ConfigError when another process has it, or it can't be made
   */
  static async listen(path: string, mode: number | undefined, handler: AdminHandler, log: Log, timeoutMs = clientTimeoutMs): Promise<AdminSocket> {
    const where = `admin socket ${path}`
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) throw new ConfigError(`the path is longer than ${MAX_SOCKET_PATH_BYTES} bytes: choose a shorter admin_socket`, where)
    const server = createServer({ allowHalfOpen: true })
    const socket = new AdminSocket(path, server, timeoutMs)
    server.on('connection', (connection) => socket.serve(connection, handler, log))
    try {
      await listenAt(server, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cannotListen(error, path, where)
      if (!lstatSync(path).isSocket()) throw new ConfigError('there is a file of this name that is no socket: choose another admin_socket', where)
      if (await isAlive(path)) throw new ConfigError('another process listens there: end it or choose another admin_socket', where)
      log.info({ path }, 'replacing a stale admin socket')
      try {
        unlinkSync(path)
        await listenAt(server, path)
      } catch (again) {
        throw cannotListen(again, path, where)
      }
    }
    server.on('error', (error) => log.error({ error }, 'admin socket failed'))
    if (mode !== undefined) chmodSync(path, mode)
    return socket
  }

  /** Removes the socket; requests that are being answered are cut off. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve())
      for (const connection of this.connections) connection.destroy()
    })
  }

  private serve(connection: Socket, handler: AdminHandler, log: Log): void {
    if (this.connections.size >= maxConnections && !this.dropOldestIdle()) {
      connection.destroy()
      return
    }
    let late: NodeJS.Timeout | undefined
    const waitForClient = () => {
      this.idle.add(connection)
      late = setTimeout(() => connection.destroy(), this.timeoutMs)
    }
    const stopWaiting = () => {
      this.idle.delete(connection)
      clearTimeout(late)
    }
    this.connections.add(connection)
    waitForClient()
    connection.on('close', () => {
      stopWaiting()
      this.connections.delete(connection)
    })
    connection.on('error', (error) => log.debug({ error }, 'admin socket connection failed'))

    let received = Buffer.alloc(0)
    let answered = false
    const answer = (request: string) => {
      answered = true
      stopWaiting()
      void handler(request).then((text) => {
        if (connection.destroyed) return
        waitForClient()
        const body = Buffer.from(text)
        const header = Buffer.alloc(4)
        header.writeUInt32BE(body.length)
        connection.end(Buffer.concat([header, body]))
      })
    }
    connection.on('data', (chunk) => {
      if (answered) return
      received = Buffer.concat([received, chunk])
      const request = requestIn(received)
      if (request !== undefined) answer(request)
      else if (received.length >= maxRequestBytes) {
        log.warn({ bytes: received.length }, 'admin socket request too long, dropped')
        connection.destroy()
      }
    })
    connection.on('end', () => {
      if (!answered) connection.destroy()
    })
  }

  /** False when there is none. */
  private dropOldestIdle(): boolean {
    const [oldest] = this.idle
    if (!oldest) return false
    // at once, not when it is closed: many may come before that
    this.idle.delete(oldest)
    this.connections.delete(oldest)
    oldest.destroy()
    return true
  }
}

/** The whole request once it is there. */
function requestIn(received: Buffer): string | undefined {
  if (received[0] === 0) {
    if (received.length < 4) return undefined
    return JSON.stringify({ prefix: legacyRequests[received.readUInt32BE(0)] ?? '' })
  }
  const end = received.findIndex((byte) => byte === 0 || byte === 0x0a)
  return end < 0 ? undefined : received.toString('utf8', 0, end)
}

function listenAt(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    // Only "nobody listens" lets us take the path: with EACCES or EAGAIN somebody may well be there.
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'))
  })
}

function cannotListen(error: unknown, path: string, where: string): ConfigError {
  const { code } = error as NodeJS.ErrnoException
  // libuv says EACCES for a missing directory too.
  const hint = !existsSync(dirname(path)) ? 'its directory does not exist' : code === 'EACCES' ? 'no permission to create it' : String(code)
  return new ConfigError(`can't listen: ${hint}`, where, { cause: error })
}
