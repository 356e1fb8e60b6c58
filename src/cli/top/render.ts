import type { ImageView, PoolView, StatusView } from '../../observability/status-view.ts'
import type { Overview } from './source.ts'

/** What colours there are: picocolors, or none. */
export interface Colours {
  readonly red: (text: string) => string
  readonly yellow: (text: string) => string
  readonly green: (text: string) => string
  readonly dim: (text: string) => string
  readonly bold: (text: string) => string
}

export function formatBytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let unit = 0
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024
    unit++
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`
}

export function formatDuration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)}s`
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`
  return `${Math.round(seconds / 86_400)}d`
}

const bars = '▁▂▃▄▅▆▇█'

/** The last values as a row of bars; a blank where nothing is known. */
export function sparkline(history: readonly (number | null)[], width: number): string {
  const shown = history.slice(-width)
  const most = Math.max(1, ...shown.map((value) => value ?? 0))
  return shown.map((value) => (value === null ? ' ' : bars[Math.min(bars.length - 1, Math.floor((value / most) * bars.length))]!)).join('')
}

/** Names come from the clusters: nothing in them may speak to the terminal. */
function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, '?')
}

function fit(text: string, width: number): string {
  const clean = plain(text)
  return clean.length <= width ? clean.padEnd(width) : width <= 1 ? clean.slice(0, width) : `${clean.slice(0, width - 1)}…`
}

function paint(colours: Colours, level: string): (text: string) => string {
  return level === 'error' ? colours.red : level === 'warning' ? colours.yellow : colours.green
}

/** One screen: the daemon, its pools, and as many images as fit. */
export function renderOverview({ status, images }: Overview, size: { columns: number; rows: number }, colours: Colours): string {
  const { columns } = size
  const lines = [headline(status, columns, colours), figures(status, columns), '']
  for (const pool of status.pools) lines.push(poolLine(pool, status, columns, colours))
  for (const peer of status.peers.filter(({ up, pool }) => up === false && !status.pools.some((other) => other.pool === pool))) {
    lines.push(colours.red(fit(`${peer.pool}: peer ${peer.peer} is not reached`, columns)))
  }
  const nameWidth = Math.max(20, Math.min(50, columns - 74))
  lines.push('', colours.bold(fit(`${fit('IMAGE', nameWidth)} ${fit('STATE', 15)} ${fit('BEHIND', 13)} ${fit('LAST HOUR', 15)} ${fit('PROGRESS', 26)}`, columns)))
  const room = Math.max(1, size.rows - lines.length - 2)
  for (const image of images.images) {
    if (lines.length >= size.rows - 2) break
    lines.push(imageLine(image, nameWidth, columns, colours))
    const { reason, healthText } = image
    if (image.health !== 'ok' && reason !== 'rpo_missed' && lines.length < size.rows - 2) lines.push(colours.dim(fit(`  ${healthText}`, columns)))
  }
  if (images.matching > Math.min(room, images.images.length)) lines.push(colours.dim(fit(`${images.matching} images match, of ${images.total}`, columns)))
  return lines.join('\n')
}

function headline(status: StatusView, columns: number, colours: Colours): string {
  const { daemon } = status
  const text = `rbd-mirror ${daemon.version}, cluster ${daemon.cluster}, ${daemon.entity} on ${daemon.hostname}, up ${formatDuration((daemon.now - daemon.startedAt) / 1000)}`
  return `${paint(colours, status.health)('●')} ${colours.bold(fit(text, columns - 2).trimEnd())}`
}

function figures(status: StatusView, columns: number): string {
  const { daemon, bandwidth } = status
  const delay = daemon.eventLoopDelay
  const limits = bandwidth.filter(({ limit }) => limit !== undefined && limit !== null)
  const parts = [
    `${status.images} images`,
    `${formatBytes(status.bytesPerSecond)}/s`,
    `${formatBytes(daemon.residentBytes)} resident`,
    ...(delay ? [`event loop ${(delay.p99 * 1000).toFixed(0)} ms p99`] : []),
    ...limits.slice(0, 3).map(({ scope, limit }) => `${scope} limited to ${formatBytes(limit!)}/s`),
  ]
  return fit(parts.join(' · '), columns).trimEnd()
}

function poolLine(pool: PoolView, { peers }: StatusView, columns: number, colours: Colours): string {
  const mine = peers.filter((peer) => peer.pool === pool.pool && peer.peer === pool.peer)
  const reached = mine.map(({ up }) => (up === null ? 'another leads' : up ? 'up' : 'NOT REACHED'))
  const bad = pool.health.filter(({ level }) => level !== 'ok')
  const level = mine.some(({ up }) => up === false) || bad.some((one) => one.level === 'error') ? 'error' : bad.length > 0 ? 'warning' : 'ok'
  const queues = mine.flatMap(({ queues: { sync } }) => (sync.running + sync.waiting > 0 ? [`${sync.running} syncing, ${sync.waiting} waiting`] : []))
  const text = [
    `${pool.pool}${pool.namespace === '' ? '' : `/${pool.namespace}`} from ${pool.peer} (${reached.join(', ')})`,
    `${pool.images} images`,
    ...bad.map(({ reason, images }) => `${images} ${reason.replaceAll('_', ' ')}`),
    ...(pool.worstLagSeconds === null ? [] : [`at most ${formatDuration(pool.worstLagSeconds)} behind`]),
    ...(pool.bytesPerSecond > 0 ? [`${formatBytes(pool.bytesPerSecond)}/s`] : []),
    ...queues,
  ].join(' · ')
  return `${paint(colours, level)('●')} ${fit(text, columns - 2).trimEnd()}`
}

function imageLine(image: ImageView, nameWidth: number, columns: number, colours: Colours): string {
  const behind =
    image.reason === 'primary'
      ? 'primary here'
      : image.lagSeconds === null
        ? '-'
        : `${formatDuration(image.lagSeconds)}${image.rpoSeconds === null ? '' : ` of ${formatDuration(image.rpoSeconds)}`}`
  const progress = [
    ...(image.progress === null ? [] : [`${Math.floor(image.progress * 100)}%`]),
    ...(image.bytesPerSecond > 0 ? [`${formatBytes(image.bytesPerSecond)}/s`] : []),
    ...(image.secondsLeft === null ? [] : [`${formatDuration(image.secondsLeft)} left`]),
    ...(image.entriesBehind ? [`${image.entriesBehind} entries`] : []),
  ].join(' ')
  const cells = [fit(image.spec, nameWidth), fit(image.state, 15), fit(behind, 13), fit(sparkline(image.lagHistory, 15), 15), fit(progress, 26)]
  const line = fit(cells.join(' '), columns).trimEnd()
  return image.health === 'ok' ? line : paint(colours, image.health)(line)
}
