import { createServer } from 'node:net'

/** The kernel hands out ephemeral ports from here on; listening below keeps daemons from colliding with outgoing connections. */
const FIRST_EPHEMERAL_PORT = 32_768
const LOWEST_PORT = 10_240

/** Finds `count` consecutive TCP ports on loopback that nobody listens on, all below the ephemeral range. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const first = LOWEST_PORT + Math.floor(Math.random() * (FIRST_EPHEMERAL_PORT - LOWEST_PORT - count))
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)))
    if (free.every(Boolean)) return first
  }
  throw new Error(`no ${count} consecutive free ports found below ${FIRST_EPHEMERAL_PORT}`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
