import { cephOptionNames } from '../../config/ceph-option-names.ts'
import { parseCommandLine } from '../../config/command-line.ts'
import { ConfigError, UsageError } from '../../config/config-error.ts'
import { loadConfiguration, type Configuration } from '../../config/load-configuration.ts'
import { redact } from '../../observability/redact.ts'
import { takeOwnOptions } from '../own-options.ts'
import { lookByConfiguration, type Overview } from '../top/source.ts'
import { examine } from './examine.ts'
import { Findings, type Finding, type Level } from './finding.ts'

const usage = `usage: rbd-mirror doctor [--json] [--quiet] [--strict] [--images N] [--cluster NAME] [--id ID] [--conf FILE] …

Looks for what would keep the daemon from mirroring, and says what to do about it: configuration, key, capabilities, every monitor
and OSD of both clusters from this host, clocks, blocklists, pools, modes and peers on both sides, features and object maps of images,
snapshot schedules, and the daemon that runs here. Changes nothing.

  --json      findings as JSON
  --quiet     only what is wrong
  --strict    a warning counts as an error
  --images N  mirrored images looked at in each pool (default: 200)
  --no-daemon the daemon on this host is not asked

Options of the configuration are the daemon's: run it with the same, and as the same user.

exit status: 0 nothing is wrong (there may be warnings), 1 something is, 2 misused
`

/** An answer that takes longer is none. */
const TIMEOUT_SECONDS = '15'
const MAX_TOTAL_MS = 10 * 60_000

/** `rbd-mirror doctor`. */
export async function doctor(args: readonly string[]): Promise<number> {
  const own = takeOwnOptions(args, { json: 'flag', quiet: 'flag', strict: 'flag', 'no-daemon': 'flag', images: 'value' })
  if (own.rest.includes('--help') || own.rest.includes('-h')) {
    process.stdout.write(usage)
    return 0
  }
  const images = Number(own.values.get('images') ?? 200)
  if (!Number.isInteger(images) || images < 0) throw new UsageError('--images is a number of images')
  const json = own.flags.has('json')
  const line = parseCommandLine(own.rest, process.env['CEPH_ARGS'], (name) => cephOptionNames.has(name))
  const findings = new Findings((finding) => {
    if (!json) show(finding, own.flags.has('quiet'))
  })
  const interrupt = new AbortController()
  process.once('SIGINT', () => interrupt.abort(new ConfigError('interrupted')))
  const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(MAX_TOTAL_MS)])
  let configuration: Configuration | undefined
  try {
    configuration = loadConfiguration(line, process.env)
    const { options } = configuration
    for (const name of ['client_mount_timeout', 'rados_mon_op_timeout', 'rados_osd_op_timeout']) options.set(name, TIMEOUT_SECONDS, 'override')
    await examine({ configuration, images, findings, signal })
  } catch (error) {
    if (error instanceof UsageError) throw error
    if (error instanceof ConfigError && !configuration) findings.error('configuration', error.message, 'correct it, and run the doctor again')
    else findings.error('examination', `it ended early: ${(error as Error).message}`, 'look at the health of both clusters, and try again')
  }
  if (configuration && !own.flags.has('no-daemon')) await checkDaemon(configuration, findings)
  const errors = findings.count('error') + (own.flags.has('strict') ? findings.count('warning') : 0)
  if (json) {
    const list = findings.list.map((finding) => ({ ...finding, text: redact(finding.text) }))
    process.stdout.write(`${JSON.stringify({ healthy: errors === 0, findings: list }, undefined, 2)}\n`)
  } else process.stdout.write(`${findings.count('error')} errors, ${findings.count('warning')} warnings\n`)
  return errors === 0 ? 0 : 1
}

const marks: Readonly<Record<Level, string>> = { ok: '  ok  ', note: ' note ', warning: ' WARN ', error: 'ERROR ' }

function show({ level, subject, text, cure }: Finding, quiet: boolean): void {
  if (quiet && (level === 'ok' || level === 'note')) return
  process.stdout.write(`${marks[level]} ${subject}: ${redact(text)}\n${cure === undefined ? '' : `        → ${cure}\n`}`)
}

async function checkDaemon({ options }: Configuration, findings: Findings): Promise<void> {
  let overview: Overview
  try {
    overview = await lookByConfiguration(options)(new URLSearchParams({ health: 'error', limit: '5' }))
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return findings.note('daemon', 'none of this cluster answers on this host')
  }
  judgeDaemon(overview, findings)
}

/** What the running daemon says of itself. */
export function judgeDaemon({ status, images }: Overview, findings: Findings): void {
  const subject = `daemon ${status.daemon.entity}`
  findings.ok(subject, `version ${status.daemon.version} runs on ${status.daemon.hostname}, ${status.images} images`)
  for (const { pool, peer, up } of status.peers) {
    if (up === false) findings.error(subject, `pool ${pool}: it does not reach peer ${peer}`, 'see what is said of that peer, and its log')
  }
  for (const { spec, healthText } of images.images) findings.error(`image ${spec}`, healthText, 'rbd-mirror top shows all images in trouble')
  if (images.matching > images.images.length) findings.error(subject, `${images.matching} images are in error`, 'rbd-mirror top --health error')
  const delay = status.daemon.eventLoopDelay
  if (delay && delay.p99 > 0.5) findings.warning(subject, `it is slow to react: ${delay.p99.toFixed(2)} s (p99)`, 'give this host more CPU, or fewer concurrent syncs')
}
