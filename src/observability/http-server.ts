import { once, setMaxListeners } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Log } from '../base/log.ts'
import { BadQuery } from './image-filter.ts'

/** What a route answers: text as a whole or in pieces; pieces are made only as fast as the client takes them. */
export interface Answer {
  status?: number
  type: string
  body: string | AsyncIterable<string>
  headers?: Readonly<Record<string, string>>
}

/** Called for GET and HEAD. `gone` is aborted when the client has left, or the server closes. */
export type Route = (query: URLSearchParams, gone: AbortSignal) => Answer | Promise<Answer>

export interface HttpServerOptions {
  address: string
  /** 0: any that is free */
  port: number
  /** by path */
  routes: Readonly<Record<string, Route>>
  log: Log
}

/** Requests that are slow to arrive, and clients that do not take their answer, are dropped after these times. */
const requestTimeoutMs = 10_000
const idleTimeoutMs = 60_000
const maxConnections = 64
const maxHeaderBytes = 8 * 1024
const maxUrlLength = 2048
const maxRequestsPerSocket = 10_000

const commonHeaders = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
}

/** Serves what operators and their tools read: nothing can be changed through it. */
export class HttpServer {
  private constructor(
    private readonly server: Server,
    private readonly closing: AbortController,
  ) {}

  /** Rejects with the error of `listen(2)`: EADDRINUSE, EACCES, EADDRNOTAVAIL … */
  static listen(options: HttpServerOptions): Promise<HttpServer> {
    const { address, log } = options
    const closing = new AbortController()
    setMaxListeners(0, closing.signal) // one for each request under way
    const limits = { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, maxHeaderSize: maxHeaderBytes }
    const server = createServer(limits, (request, response) => {
      answer(request, response, options, closing.signal).catch((error: unknown) => {
        log.error({ error, path: request.url?.split('?')[0] }, 'a request failed')
        if (response.headersSent) response.destroy()
        else send(request, response, { status: 500, type: 'text/plain', body: 'failed; the log says why\n' })
      })
    })
    server.maxConnections = maxConnections
    server.maxRequestsPerSocket = maxRequestsPerSocket
    server.timeout = idleTimeoutMs
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: address, port: options.port }, () => {
        server.removeListener('error', reject)
        server.on('error', (error) => log.error({ error }, 'HTTP server failed'))
        resolve(new HttpServer(server, closing))
      })
    })
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  close(): Promise<void> {
    this.closing.abort()
    return new Promise((resolve) => {
      this.server.close(() => resolve())
      this.server.closeAllConnections()
    })
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, { address, routes }: HttpServerOptions, closing: AbortSignal): Promise<void> {
  const refuse = (status: number, text: string, headers?: Record<string, string>) =>
    send(request, response, { status, type: 'text/plain', body: `${text}\n`, ...(headers && { headers }) })
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405, 'only GET', { allow: 'GET, HEAD', connection: 'close' })
  const url = request.url ?? '/'
  if (url.length > maxUrlLength) return refuse(414, 'the query is too long')
  if (isLoopback(address) && !isLoopbackHost(request.headers.host)) return refuse(421, 'served to this host alone')
  const [path, queryText = ''] = url.split(/\?(.*)/s)
  const route = Object.hasOwn(routes, path!) ? routes[path!] : undefined
  if (!route) return refuse(404, `not found: try ${Object.keys(routes).join(', ')}`)
  const gone = new AbortController()
  const leave = () => gone.abort()
  response.once('close', leave)
  closing.addEventListener('abort', leave, { once: true })
  try {
    const answered = await route(new URLSearchParams(queryText), gone.signal)
    if (typeof answered.body === 'string') send(request, response, answered)
    else await stream(request, response, answered, answered.body, gone.signal)
  } catch (error) {
    if (error instanceof BadQuery) return refuse(400, error.message)
    if (!gone.signal.aborted) throw error
  } finally {
    closing.removeEventListener('abort', leave)
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status = 200, type, body, headers }: Answer): void {
  response.writeHead(status, { ...commonHeaders, 'content-type': type, 'content-length': Buffer.byteLength(body as string), ...headers })
  response.end(request.method === 'HEAD' ? undefined : body)
}

async function stream(
  request: IncomingMessage,
  response: ServerResponse,
  { status = 200, type, headers }: Answer,
  body: AsyncIterable<string>,
  gone: AbortSignal,
): Promise<void> {
  response.writeHead(status, { ...commonHeaders, 'content-type': type, ...headers })
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  for await (const piece of body) {
    if (gone.aborted) return
    if (!response.write(piece)) await once(response, 'drain', { signal: gone })
  }
  response.end()
}

function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || /^127(\.\d{1,3}){3}$/.test(address)
}

/** A web page elsewhere must not get at a loopback server by a name of its own that leads here. */
function isLoopbackHost(host: string | undefined): boolean {
  return host === undefined || /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host)
}
