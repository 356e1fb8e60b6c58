import type { Cluster } from '../../rados/cluster.ts'

/** What is wrong with a pool's mirroring, the worse the later. */
export const healths = ['OK', 'UNKNOWN', 'WARNING', 'ERROR'] as const
export type Health = (typeof healths)[number]

export function worst(...some: Health[]): Health {
  return healths[Math.max(0, ...some.map((health) => healths.indexOf(health)))]!
}

/** One daemon of this cluster as its service map shows it, with what it says of one pool. */
export interface DaemonService {
  serviceId: string
  instanceId: string
  clientId: string
  hostname: string
  version: string
  leader: boolean
  health: Health
  callouts: string[]
}

export interface DaemonServices {
  services: DaemonService[]
  health: Health
}

type Json = Record<string, unknown>

/**
 * Asks the monitors for the mirroring daemons and how they are (tools/rbd/MirrorDaemonServiceInfo.cc). What could be found out is in the
 * result even when a part of it failed: `failure`.
 */
export async function loadDaemonServices(cluster: Cluster, poolId: bigint): Promise<DaemonServices & { failure?: { errno: number; what: string } }> {
  const dump = await ask(cluster, 'service dump')
  if (dump.type === 'failed') return { services: [], health: 'UNKNOWN', failure: { errno: dump.errno, what: 'failed to query services' } }
  const services = parseServiceDump(dump.json)
  if (services.length === 0) return { services, health: 'UNKNOWN' }
  const status = await ask(cluster, 'service status')
  if (status.type === 'failed') return { services, health: 'UNKNOWN', failure: { errno: status.errno, what: 'failed to query service status' } }
  return { services, health: applyServiceStatus(services, status.json, poolId) }
}

async function ask(cluster: Cluster, prefix: string): Promise<{ type: 'answer'; json: Json } | { type: 'failed'; errno: number }> {
  const { code, output } = await cluster.monCommand({ prefix, format: 'json' })
  return code === 0 ? { type: 'answer', json: parseObject(output.toString()) } : { type: 'failed', errno: code }
}

export function parseServiceDump(dump: Json): DaemonService[] {
  const daemons = objectOf(objectOf(objectOf(dump['services'])['rbd-mirror'])['daemons'])
  return Object.entries(daemons)
    .filter(([, daemon]) => typeof daemon === 'object' && daemon !== null && 'metadata' in daemon) // others are summaries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([serviceId, daemon]) => {
      const metadata = objectOf(objectOf(daemon)['metadata'])
      return {
        serviceId,
        instanceId: '',
        clientId: textOf(metadata['id']),
        hostname: textOf(metadata['hostname']),
        version: textOf(metadata['ceph_version_short']),
        leader: false,
        health: 'UNKNOWN' as const,
        callouts: [],
      }
    })
}

/** Fills in what each daemon says of the pool; resolves with the health of all together. */
export function applyServiceStatus(services: readonly DaemonService[], status: Json, poolId: bigint): Health {
  const daemons = status['rbd-mirror']
  if (daemons === undefined) return 'UNKNOWN'
  let poolFound = false
  for (const [serviceId, daemon] of Object.entries(objectOf(daemons))) {
    const service = services.find((candidate) => candidate.serviceId === serviceId)
    if (!service) continue
    const json = objectOf(objectOf(daemon)['status'])['json']
    if (typeof json !== 'string') warn(service, 'not reporting status')
    else {
      const pool = parseObject(json)[String(poolId)]
      if (pool === undefined) warn(service, 'not reporting status for pool')
      else {
        poolFound = true
        applyPoolStatus(service, objectOf(pool))
      }
    }
  }
  const all = services.map(({ health }) => health)
  if (!poolFound) return worst('ERROR', ...all)
  return worst(services.some(({ leader }) => leader) ? 'OK' : 'WARNING', ...all)
}

function warn(service: DaemonService, callout: string): void {
  service.callouts.push(callout)
  service.health = 'WARNING'
}

function applyPoolStatus(service: DaemonService, pool: Json): void {
  service.instanceId = textOf(pool['instance_id'])
  service.leader = pool['leader'] === true
  let health: Health = 'OK'
  for (const callout of Object.values(objectOf(pool['callouts']))) {
    const { level, text } = objectOf(callout)
    if (typeof level !== 'string') continue
    if (level === 'error') health = 'ERROR'
    else if (level === 'warning') health = worst(health, 'WARNING')
    if (typeof text === 'string') service.callouts.push(text)
  }
  service.health = health
}

function parseObject(text: string): Json {
  try {
    return objectOf(JSON.parse(text))
  } catch {
    return {} // no JSON says nothing
  }
}

function objectOf(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {}
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
