import { isIPv6, connect } from 'node:net'
import { forEachBounded } from '../../base/bounded.ts'
import type { MonAddress } from '../../config/mon-host.ts'
import type { Findings } from './finding.ts'

const CONNECT_TIMEOUT_MS = 3_000
const CONCURRENT = 64
/** OSDs that are tried, spread over all of them. */
const MAX_OSDS = 1_000
/** Addresses that are named one by one. */
const MAX_NAMED = 5

const monPorts = { v2: 3300, v1: 6789 } as const

export interface Endpoint {
  /** `mon.a`, `osd.7` */
  name: string
  host: string
  port: number
}

/** The addresses that `mon_host` names; of a port that is not said, those of both protocols, one of which is enough. */
export function monEndpoints(addresses: readonly MonAddress[]): Endpoint[][] {
  return addresses.map(({ protocol, host, port }) => {
    const name = `monitor ${isIPv6(host) ? `[${host}]` : host}`
    const ports = port !== undefined ? [port] : protocol === 'v1' ? [monPorts.v1] : protocol === 'v2' ? [monPorts.v2] : [monPorts.v2, monPorts.v1]
    return ports.map((one) => ({ name, host, port: one }))
  })
}

interface AddrVec {
  addrvec?: { type: string; addr: string }[]
}

/** What `mon dump` and `osd dump` say: public addresses of all monitors and of the OSDs that are up. */
export function endpointsOf(monDump: unknown, osdDump: unknown): { mons: Endpoint[]; osds: Endpoint[] } {
  const { mons = [] } = monDump as { mons?: { name: string; public_addrs?: AddrVec }[] }
  const { osds = [] } = osdDump as { osds?: { osd: number; up: number; public_addrs?: AddrVec }[] }
  return {
    mons: mons.flatMap(({ name, public_addrs: addresses }) => endpoint(`mon.${name}`, addresses)),
    osds: osds.filter(({ up }) => up === 1).flatMap(({ osd, public_addrs: addresses }) => endpoint(`osd.${osd}`, addresses)),
  }
}

/** One address of each daemon is enough: the newest protocol's. */
function endpoint(name: string, addresses: AddrVec | undefined): Endpoint[] {
  const list = addresses?.addrvec ?? []
  const { addr } = list.find(({ type }) => type === 'v2') ?? list[0] ?? {}
  const match = /^\[?([^\]]+?)\]?:(\d+)$/.exec(addr ?? '')
  return match ? [{ name, host: match[1]!, port: Number(match[2]) }] : []
}

/** undefined when somebody listens there, else why not. */
export function tryConnect({ host, port }: Endpoint, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (problem?: string) => {
      signal.removeEventListener('abort', onAbort)
      socket.destroy()
      resolve(problem)
    }
    const onAbort = () => end('given up')
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => end('no answer'))
    socket.once('connect', () => end())
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
}

/** Tries all; gives those that can't be reached, with the reason. */
export async function unreachable(endpoints: readonly Endpoint[], signal: AbortSignal): Promise<{ endpoint: Endpoint; problem: string }[]> {
  const bad: { endpoint: Endpoint; problem: string }[] = []
  await forEachBounded(endpoints, CONCURRENT, async (endpoint) => {
    const problem = await tryConnect(endpoint, signal)
    if (problem !== undefined) bad.push({ endpoint, problem })
  })
  return bad
}

/** At least one of the addresses in `mon_host` has to answer. True when a connection is worth trying. */
export async function checkMonHost(subject: string, addresses: readonly MonAddress[], findings: Findings, signal: AbortSignal): Promise<boolean> {
  const problems: string[] = []
  let reached = 0
  await forEachBounded(monEndpoints(addresses), CONCURRENT, async (candidates) => {
    const bad = await unreachable(candidates, signal)
    if (bad.length < candidates.length) reached++
    else problems.push(bad.map(({ endpoint: { name, port }, problem }) => `${name} port ${port}: ${problem}`).join(', '))
  })
  const cure = 'look at mon_host, at the routes and firewalls on the way, and whether the monitors run'
  if (reached === 0) findings.error(subject, `none of its monitors is reached: ${named(problems)}`, cure)
  else if (problems.length > 0) findings.warning(subject, `not all monitors of mon_host are reached: ${named(problems)}`, cure)
  else findings.ok(subject, `all ${reached} addresses of mon_host answer`)
  return reached > 0
}

/** Every monitor and OSD has to be reached from here: images are read and written directly. */
export async function checkDaemons(subject: string, monDump: unknown, osdDump: unknown, findings: Findings, signal: AbortSignal): Promise<void> {
  const { mons, osds } = endpointsOf(monDump, osdDump)
  const step = Math.max(1, Math.ceil(osds.length / MAX_OSDS))
  const tried = osds.filter((_, index) => index % step === 0)
  const bad = await unreachable([...mons, ...tried], signal)
  const cure = 'open the ports of all monitors (3300, 6789) and OSDs (6800 to 7568) of this cluster to this host; public_network has to be routed'
  if (osds.length === 0) findings.error(subject, 'no OSD is up', 'start the OSDs of this cluster')
  if (bad.length > 0) {
    const all = bad.map(({ endpoint: { name, host, port }, problem }) => `${name} at ${host} port ${port}: ${problem}`)
    findings.error(subject, `${bad.length} of ${mons.length + tried.length} daemons are not reached from this host: ${named(all)}`, cure)
  } else if (osds.length > 0) findings.ok(subject, `${mons.length} monitors and ${tried.length} OSDs are reached from this host`)
}

function named(list: readonly string[]): string {
  return list.slice(0, MAX_NAMED).join('; ') + (list.length > MAX_NAMED ? `; and ${list.length - MAX_NAMED} more` : '')
}
