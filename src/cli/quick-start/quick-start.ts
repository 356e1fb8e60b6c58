import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError, UsageError } from '../../config/config-error.ts'
import { takeOwnOptions } from '../own-options.ts'
import { renderOverview, type Colours } from '../top/render.ts'
import { lookByHttp, type Overview } from '../top/source.ts'
import { Commands } from './commands.ts'
import { Daemons } from './daemons.ts'
import { JOURNAL_IMAGE, POOL, setUp, SNAPSHOT_IMAGE, type Sites } from './sites.ts'
import { keepWriting } from './writer.ts'

const usage = `usage: rbd-mirror quick-start [--data-dir DIR] [--sites A,B] [--redis URL] [--port N] [--seconds N]

Two emulated clusters on this machine, one image of each mode, somebody who writes to them, and a daemon for each site that mirrors them.
They are made at the first start; a later one goes on with them. Ends with Ctrl-C.

  --data-dir DIR   where everything is kept, but for A.conf and B.conf in the current directory (default: clusters)
  --sites A,B      names of the clusters (default: site-a,site-b)
  --redis URL      keeps them in databases 0 and 1 of this Redis, e.g. redis://127.0.0.1:6379
  --port N         status page and metrics of site B's daemon; N+1 is site A's (default: 9927)
  --seconds N      ends by itself after so long

exit status: 0, 1 it failed, 2 misused
`

const LOOK_EVERY_MS = 1_000
/** Where nobody watches a screen, a line now and then. */
const LINE_EVERY_MS = 5_000
const plain: Colours = { red: String, yellow: String, green: String, dim: String, bold: String }

/** `rbd-mirror quick-start`. Rejects with ConfigError or UsageError. */
export async function quickStart(args: readonly string[]): Promise<number> {
  const own = takeOwnOptions(args, { 'data-dir': 'value', sites: 'value', redis: 'value', port: 'value', seconds: 'value', help: 'flag' })
  if (own.flags.has('help')) {
    process.stdout.write(usage)
    return 0
  }
  if (own.rest.length > 0) throw new UsageError(`rbd-mirror quick-start does not know "${own.rest[0]}"`)
  const sites = sitesOf(own.values)
  const port = numberOf(own.values, 'port', 9927, 65_534)
  const seconds = own.values.has('seconds') ? numberOf(own.values, 'seconds', 0, 86_400) : undefined
  const print = (line: string) => void process.stdout.write(`${line}\n`)

  const commands = new Commands(print)
  if ((await setUp(sites, commands)) === 'there') print(`going on with the clusters ${sites.a} and ${sites.b} in ${sites.dataFolder}`)

  const stop = new AbortController()
  let failure: Error | undefined
  const fail = (error: unknown) => {
    failure ??= error as Error
    stop.abort()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort())
  const timer = seconds === undefined ? undefined : setTimeout(() => stop.abort(), seconds * 1000)
  const daemons = new Daemons(sites, fail)
  try {
    daemons.start(sites.b, port)
    daemons.start(sites.a, port + 1)
    print(instructions(sites, port))
    const writing = keepWriting(sites, commands, stop.signal).catch(fail)
    await watch(`http://127.0.0.1:${port}`, instructions(sites, port), stop.signal).catch(fail)
    await writing
  } finally {
    clearTimeout(timer)
    print('stopping the daemons')
    await daemons.stop()
  }
  if (failure !== undefined) throw failure
  return 0
}

function sitesOf(values: ReadonlyMap<string, string>): Sites {
  const [a, b, ...more] = (values.get('sites') ?? 'site-a,site-b').split(',').map((name) => name.trim())
  if (!a || !b || a === b || more.length > 0) throw new UsageError('--sites takes two names, as in --sites site-a,site-b')
  const redis = values.get('redis')
  if (redis !== undefined && !/^rediss?:\/\/[^/]+\/?$/.test(redis)) throw new UsageError('--redis takes an address without a database, as in redis://127.0.0.1:6379')
  return { a, b, redis, dataFolder: resolve(values.get('data-dir') ?? 'clusters') }
}

function numberOf(values: ReadonlyMap<string, string>, name: string, fallback: number, max: number): number {
  const value = Number(values.get(name) ?? fallback)
  if (!Number.isInteger(value) || value < 0 || value > max) throw new UsageError(`--${name} is a whole number up to ${max}`)
  return value
}

function instructions({ a, b }: Sites, port: number): string {
  return `status page of ${b}: http://127.0.0.1:${port}/   metrics: http://127.0.0.1:${port}/metrics   (${a}: port ${port + 1})
in another terminal, in this folder:
  npx rbd --cluster ${b} mirror pool status ${POOL} --verbose
  npx rbd --cluster ${b} mirror image status ${SNAPSHOT_IMAGE}
  npx rbd --cluster ${a} mirror image demote ${JOURNAL_IMAGE} && npx rbd --cluster ${b} mirror image promote ${JOURNAL_IMAGE}
`
}

function inOneLine({ images }: Overview): string {
  const texts = images.images.map(({ pool, image, state, healthText }) => `${pool}/${image} ${state}${healthText === '' ? '' : ` (${healthText})`}`)
  return texts.length === 0 ? 'no image yet' : texts.join(', ')
}

/** Shows what the daemon does until the signal is aborted. */
async function watch(url: string, head: string, signal: AbortSignal): Promise<void> {
  const look = lookByHttp(url)
  const terminal = process.stdout.isTTY === true
  const colours = terminal && !process.env['NO_COLOR'] ? (await import('picocolors')).default : plain
  const screen = terminal ? (await import('log-update')).createLogUpdate(process.stdout) : undefined
  while (!signal.aborted) {
    const overview = await look(new URLSearchParams({ limit: '50' })).catch((error: unknown) => {
      if (error instanceof ConfigError) return error.message // it is starting, or busy
      throw error
    })
    if (signal.aborted) break
    if (!screen) {
      process.stdout.write(`${new Date().toISOString()} ${typeof overview === 'string' ? overview : inOneLine(overview)}\n`)
    } else if (typeof overview === 'string') screen(`${head}\n${overview}`)
    else {
      const room = Math.max(10, process.stdout.rows - head.split('\n').length - 1)
      screen(`${head}\n${renderOverview(overview, { columns: process.stdout.columns, rows: room }, colours)}`)
    }
    await sleep(screen ? LOOK_EVERY_MS : LINE_EVERY_MS, undefined, { signal }).catch(() => undefined) // ends the loop
  }
  screen?.done()
}
