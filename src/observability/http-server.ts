import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Log } from '../base/log.ts'

export interface Health {
  ok: boolean
  /** one line, shown to whoever asks */
  detail: string
}

export type Scrape = () => Promise<{ type: string; text: string }>

export interface HttpServerOptions {
  address: string
  /** 0: any that is free */
  port: number
  scrape: Scrape
  health: () => Health
  log: Log
}

/** Requests that are slow to arrive are dropped after this time. */
const requestTimeoutMs = 10_000
const maxConnections = 64

/** Serves `/metrics` for Prometheus and `/healthz` for whoever watches over the process. */
export class HttpServer {
  private constructor(private readonly server: Server) {}

  /** Rejects with the error of `listen(2)`: EADDRINUSE, EACCES, EADDRNOTAVAIL … */
  static listen(options: HttpServerOptions): Promise<HttpServer> {
    const { scrape, health, log } = options
    const server = createServer({ requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs }, (request, response) => {
      answer(request, response, scrape, health).catch((error: unknown) => {
        log.error({ error, url: request.url }, 'a request for metrics failed')
        response.destroy()
      })
    })
    server.maxConnections = maxConnections
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: options.address, port: options.port }, () => {
        server.removeListener('error', reject)
        server.on('error', (error) => log.error({ error }, 'metrics server failed'))
        resolve(new HttpServer(server))
      })
    })
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve())
      this.server.closeAllConnections()
    })
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, scrape: Scrape, health: () => Health): Promise<void> {
  const send = (status: number, type: string, body: string) => {
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(405, 'text/plain', 'only GET\n')
  switch (request.url?.split('?')[0]) {
    case '/metrics': {
      const { type, text } = await scrape()
      return send(200, type, text)
    }
    case '/healthz': {
      const { ok, detail } = health()
      return send(ok ? 200 : 503, 'text/plain', `${detail}\n`)
    }
    case '/':
      return send(200, 'text/plain', '/metrics\n/healthz\n')
    default:
      return send(404, 'text/plain', 'not found: try /metrics or /healthz\n')
  }
}
