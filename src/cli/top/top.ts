import { cephOptionNames } from '../../config/ceph-option-names.ts'
import { parseCommandLine } from '../../config/command-line.ts'
import { ConfigError, UsageError } from '../../config/config-error.ts'
import { loadConfiguration } from '../../config/load-configuration.ts'
import { takeOwnOptions } from '../own-options.ts'
import { renderOverview, type Colours } from './render.ts'
import { lookByAdminSocket, lookByConfiguration, lookByHttp, type Look } from './source.ts'

const usage = `usage: rbd-mirror top [--json | --once] [--interval SECONDS] [FILTERS] [--url URL | --admin-socket PATH | --cluster NAME]

Shows what the daemon on this host does, live: pools and peers, images and what holds them up. Ends with q or Ctrl-C.

  --json                one look as JSON on stdout
  --once                one look as text
  --interval SECONDS    between two looks (default: 2)
  --pool, --namespace, --image, --peer PATTERN   with * and ?
  --state, --health LIST                         e.g. --health error,warning
  --sort trouble|name|lag|rate|progress|errors   (default: trouble)
  --limit N             images at most (default: as many as fit; with --json 500)
  --url URL             the daemon's address, e.g. http://127.0.0.1:9927
  --admin-socket PATH   its admin socket, where there is no HTTP
  --cluster, --id, --conf …                      where to look for it, as for the daemon

exit status: 0, 1 no daemon answers, 2 misused
`

const filterNames = ['pool', 'namespace', 'image', 'peer', 'state', 'health', 'sort', 'limit'] as const
const noColours: Colours = { red: String, yellow: String, green: String, dim: String, bold: String }

/** `rbd-mirror top`. */
export async function top(args: readonly string[]): Promise<number> {
  const values = Object.fromEntries([...filterNames, 'interval', 'url', 'admin-socket'].map((name) => [name, 'value' as const]))
  const own = takeOwnOptions(args, { json: 'flag', once: 'flag', ...values })
  if (own.rest.includes('--help') || own.rest.includes('-h')) {
    process.stdout.write(usage)
    return 0
  }
  const interval = Number(own.values.get('interval') ?? 2)
  if (!(interval >= 0.2 && interval <= 3600)) throw new UsageError('--interval is a number of seconds from 0.2 to 3600')
  const query = new URLSearchParams()
  for (const name of filterNames) if (own.values.has(name)) query.set(name, own.values.get(name)!)
  const look = lookOf(own.values, own.rest)
  const limit = (rows: number) => {
    if (!own.values.has('limit')) query.set('limit', String(rows))
  }
  if (own.flags.has('json')) {
    limit(500)
    process.stdout.write(`${JSON.stringify(await look(query), undefined, 2)}\n`)
    return 0
  }
  const terminal = process.stdout.isTTY === true
  const colours: Colours = terminal && !process.env['NO_COLOR'] ? (await import('picocolors')).default : noColours
  if (own.flags.has('once') || !terminal) {
    limit(200)
    process.stdout.write(`${renderOverview(await look(query), { columns: process.stdout.columns ?? 160, rows: 1000 }, colours)}\n`)
    return 0
  }
  return watch(look, query, limit, interval, colours)
}

function lookOf(values: ReadonlyMap<string, string>, rest: readonly string[]): Look {
  const url = values.get('url')
  const path = values.get('admin-socket')
  if (url !== undefined && path !== undefined) throw new UsageError('either --url or --admin-socket')
  const line = parseCommandLine(rest, process.env['CEPH_ARGS'], (name) => cephOptionNames.has(name))
  if (url !== undefined) return lookByHttp(url)
  if (path !== undefined) return lookByAdminSocket(path)
  return lookByConfiguration(loadConfiguration(line, process.env).options)
}

/** Until q or Ctrl-C. A daemon that does not answer is waited for, unless it never did. */
async function watch(look: Look, query: URLSearchParams, limit: (rows: number) => void, interval: number, colours: Colours): Promise<number> {
  const { createLogUpdate } = await import('log-update')
  const screen = createLogUpdate(process.stdout)
  let wake = () => undefined as void
  let ended = false
  const end = () => {
    ended = true
    wake()
  }
  const onKey = (key: Buffer) => {
    if (['q', 'Q', '\u0003', '\u001b'].includes(key.toString())) end()
  }
  process.once('SIGINT', end)
  process.once('SIGTERM', end)
  process.stdin.on('data', onKey)
  if (process.stdin.isTTY) process.stdin.setRawMode(true)
  try {
    let seen = false
    while (!ended) {
      const size = { columns: process.stdout.columns, rows: process.stdout.rows }
      limit(Math.min(500, size.rows))
      try {
        const overview = await look(query)
        seen = true
        screen(renderOverview(overview, size, colours))
      } catch (error) {
        if (!(error instanceof ConfigError) || !seen) throw error
        screen(colours.red(error.message))
      }
      if (ended) break
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, interval * 1000)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return 0
  } finally {
    screen.done()
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdin.removeListener('data', onKey)
    process.stdin.pause()
  }
}
