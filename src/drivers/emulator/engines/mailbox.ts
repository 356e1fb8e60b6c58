import { randomBytes } from 'node:crypto'
import { mkdirSync, openSync, closeSync, readFileSync, readlinkSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { MaybePromise } from '../engine.ts'

const SOCKETS = 'sockets'
/** sun_path of Linux, with its final zero */
const MAX_PATH = 107
const MAX_MESSAGE = 64 * 1024 * 1024
/** Bytes that may wait for a process that does not read; beyond them it is taken for gone. */
const MAX_WAITING = 64 * 1024 * 1024
const CONNECT_MS = 2000

/**
 * Messages between the processes that have one folder open: each listens on a socket in the folder. An endpoint is
 * `PID-NAMESPACE-STARTED-RANDOM`, also the socket's name.
 */
export class Mailbox {
  private handler: ((message: Buffer) => void) | undefined
  private readonly outgoing = new Map<string, Promise<Socket | undefined>>()
  private readonly incoming = new Set<Socket>()

  private constructor(
    private readonly folder: Folder,
    private readonly server: Server,
    readonly endpoint: string,
  ) {
    server.on('connection', (socket) => this.accept(socket))
  }

  static async open(clusterFolder: string): Promise<Mailbox> {
    const folder = new Folder(join(clusterFolder, SOCKETS))
    for (const name of folder.names()) if (isDead(name)) folder.remove(name)
    const endpoint = `${process.pid}-${pidNamespace()}-${startOf(process.pid) ?? 0}-${randomBytes(4).toString('hex')}`
    const server = createServer()
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(folder.path(endpoint), resolve))
    return new Mailbox(folder, server, endpoint)
  }

  receive(handler: (message: Buffer) => void): void {
    this.handler = handler
  }

  send(endpoint: string, message: Buffer): MaybePromise<boolean> {
    if (endpoint !== this.endpoint) return this.sendOut(endpoint, message)
    queueMicrotask(() => this.handler?.(message))
    return true
  }

  private async sendOut(endpoint: string, message: Buffer): Promise<boolean> {
    let connecting = this.outgoing.get(endpoint)
    if (!connecting) this.outgoing.set(endpoint, (connecting = this.connect(endpoint)))
    const socket = await connecting
    if (!socket || socket.destroyed) return false
    if (socket.writableLength > MAX_WAITING) {
      socket.destroy()
      return false
    }
    const header = Buffer.allocUnsafe(4)
    header.writeUInt32LE(message.length)
    socket.cork()
    socket.write(header)
    socket.write(message)
    socket.uncork()
    return true
  }

  private connect(endpoint: string): Promise<Socket | undefined> {
    return new Promise((resolve) => {
      const socket = createConnection(this.folder.path(endpoint))
      const ended = () => {
        this.outgoing.delete(endpoint)
        socket.destroy()
        resolve(undefined)
      }
      socket.setTimeout(CONNECT_MS, () => {
        if (socket.connecting) ended()
      })
      socket.once('connect', () => {
        socket.setTimeout(0)
        resolve(socket)
      })
      socket.on('error', ended).on('close', ended)
      socket.unref()
    })
  }

  private accept(socket: Socket): void {
    this.incoming.add(socket)
    let waiting: Buffer[] = []
    let length = 0
    socket.on('error', () => socket.destroy()).on('close', () => this.incoming.delete(socket))
    socket.on('data', (data) => {
      waiting.push(data)
      length += data.length
      if (length < 4) return
      let bytes = waiting.length === 1 ? data : Buffer.concat(waiting)
      while (bytes.length >= 4) {
        const size = bytes.readUInt32LE(0)
        if (size > MAX_MESSAGE) return void socket.destroy()
        if (bytes.length < 4 + size) break
        this.handler?.(bytes.subarray(4, 4 + size))
        bytes = bytes.subarray(4 + size)
      }
      waiting = bytes.length > 0 ? [bytes] : []
      length = bytes.length
    })
  }

  /** Processes of this machine are looked at; of those in other containers it is seen whether they still listen. */
  isGone(endpoint: string): MaybePromise<boolean> {
    if (endpoint === this.endpoint) return false
    if (endpoint.split('-')[1] === pidNamespace()) return isDead(endpoint) || !this.folder.has(endpoint)
    return this.connect(endpoint).then((socket) => {
      socket?.destroy()
      return socket === undefined
    })
  }

  async close(): Promise<void> {
    // Nobody is let in any more before those who are in are shown out: the server waits for every connection to end.
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const socket of this.incoming) socket.destroy()
    for (const connecting of [...this.outgoing.values()]) (await connecting)?.destroy()
    await closed
    this.folder.close()
  }
}

/** The sockets' folder. Its path may be too long for a socket's address; then it goes through a descriptor's. */
class Folder {
  private readonly descriptor: number | undefined
  private readonly prefix: string

  constructor(private readonly folder: string) {
    mkdirSync(folder, { recursive: true })
    const long = Buffer.byteLength(folder) + 64 > MAX_PATH
    this.descriptor = long ? openSync(folder, 'r') : undefined
    this.prefix = this.descriptor === undefined ? folder : `/proc/self/fd/${this.descriptor}`
  }

  path(name: string): string {
    return join(this.prefix, name)
  }

  names(): string[] {
    return readdirSync(this.folder)
  }

  has(name: string): boolean {
    return this.names().includes(name)
  }

  remove(name: string): void {
    rmSync(join(this.folder, name), { force: true })
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
  }
}

let namespace: string | undefined

/** What tells process ids of one container from another's. */
function pidNamespace(): string {
  try {
    namespace ??= readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
  } catch {
    namespace = '0' // no Linux: one namespace for all
  }
  return namespace
}

/** When a process was started, in clock ticks since boot; undefined if there is none, it has ended and awaits its parent, or there is no /proc. */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
  } catch {
    return undefined
  }
}

/** The process behind an endpoint of our own namespace has ended, or its id is another's now. */
function isDead(endpoint: string): boolean {
  const [pid, space, started] = endpoint.split('-')
  if (space !== pidNamespace()) return false
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
  return started !== '0' && startOf(Number(pid)) !== started
}
