import { networkInterfaces } from 'node:os'
import type { Cluster, CommandResult } from '../../rados/cluster.ts'
import type { Findings } from './finding.ts'
import { checkDaemons } from './reach.ts'

/** A clock that is off by more than this makes lag figures wrong; by more than the second one keys are refused. */
const MAX_SKEW_SECONDS = 1
const DANGEROUS_SKEW_SECONDS = 60
const MONITOR_SKEW_SECONDS = 0.05

/** A monitor's answer as JSON; a finding and undefined when it refuses. */
export async function ask(cluster: Cluster, subject: string, prefix: string, findings: Findings): Promise<unknown> {
  const result: CommandResult = await cluster.monCommand({ prefix, format: 'json' })
  if (result.code === 0) {
    try {
      return JSON.parse(result.output.toString()) as unknown
    } catch {
      findings.warning(subject, `the answer to "${prefix}" makes no sense`, 'is this a supported release of Ceph?')
      return undefined
    }
  }
  const caps = "mon 'profile rbd-mirror' (of a peer: 'profile rbd-mirror-peer'), osd 'profile rbd'"
  const problem = `${cluster.entity} may not ask for "${prefix}": ${result.status || `errno ${result.code}`}`
  findings.warning(subject, problem, `its capabilities are to be ${caps}: ceph auth caps ${cluster.entity} …`)
  return undefined
}

/** What holds for one cluster as a whole: its daemons from here, clocks, blocklist, health. */
export async function checkSite(cluster: Cluster, subject: string, findings: Findings, signal: AbortSignal): Promise<void> {
  const monDump = await ask(cluster, subject, 'mon dump', findings)
  const osdDump = await ask(cluster, subject, 'osd dump', findings)
  if (monDump !== undefined && osdDump !== undefined) await checkDaemons(subject, monDump, osdDump, findings, signal)
  if (osdDump !== undefined) checkFull(subject, osdDump, findings)
  await checkClocks(cluster, subject, findings)
  const blocklist = (osdDump as { blocklist?: unknown } | undefined)?.blocklist
  if (blocklist !== undefined) checkBlocklist(subject, blocklist, ownAddresses(), Date.now(), findings)
}

function checkFull(subject: string, osdDump: unknown, findings: Findings): void {
  const { flags = '' } = osdDump as { flags?: string }
  const set = flags.split(',')
  for (const flag of ['full', 'pausewr', 'pauserd']) {
    if (!set.includes(flag)) continue
    const cure = flag === 'full' ? 'make room, or raise the full ratio' : 'ceph osd unpause'
    findings.error(subject, `the OSD map has the flag ${flag}: nothing is ${flag === 'pauserd' ? 'read' : 'written'}`, cure)
  }
}

async function checkClocks(cluster: Cluster, subject: string, findings: Findings): Promise<void> {
  const sync = (await ask(cluster, subject, 'time-sync-status', findings)) as { time_skew_status?: Record<string, { skew?: number }> } | undefined
  for (const [mon, { skew = 0 }] of Object.entries(sync?.time_skew_status ?? {})) {
    if (Math.abs(skew) <= MONITOR_SKEW_SECONDS) continue
    findings.warning(subject, `the clock of mon.${mon} is ${skew.toFixed(2)} s off`, 'let chrony or ntpd run on all hosts')
  }
  const asked = Date.now()
  const report = (await ask(cluster, subject, 'report', findings)) as { timestamp?: string } | undefined
  const answered = Date.now()
  const told = Date.parse((report?.timestamp ?? '').replace(/(\.\d{3})\d*/, '$1').replace(/([+-]\d\d)(\d\d)$/, '$1:$2'))
  if (Number.isNaN(told)) return
  judgeClock(subject, { told, asked, answered }, findings)
}

/** @param times milliseconds: what the cluster said, and when it was asked and answered by our clock */
export function judgeClock(subject: string, { told, asked, answered }: { told: number; asked: number; answered: number }, findings: Findings): void {
  const off = told < asked ? asked - told : told > answered ? told - answered : 0
  const text = `its clock and this host's differ by ${(off / 1000).toFixed(1)} s`
  const cure = 'let chrony or ntpd run here and there'
  if (off > DANGEROUS_SKEW_SECONDS * 1000) findings.error(subject, `${text}: keys may be refused, and lag is told wrong`, cure)
  else if (off > MAX_SKEW_SECONDS * 1000) findings.warning(subject, `${text}: lag is told wrong by as much`, cure)
  else findings.ok(subject, "its clock agrees with this host's")
}

function ownAddresses(): Set<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address)))
}

/** @param blocklist of `osd dump`: `{"addr:port/nonce": "until"}`, in older releases a list of such objects */
export function checkBlocklist(subject: string, blocklist: unknown, own: ReadonlySet<string>, now: number, findings: Findings): void {
  const objects = Array.isArray(blocklist) ? (blocklist as object[]) : [blocklist as object]
  const entries = objects.flatMap((object) => Object.entries(object) as [string, unknown][])
  const ours = entries.filter(([address, until]) => {
    const host = /^\[?([^\]]+?)\]?:\d+\/\d+$/.exec(address)?.[1]
    const end = Date.parse(String(until).replace(/(\.\d{3})\d*/, '$1').replace(/([+-]\d\d)(\d\d)$/, '$1:$2'))
    return host !== undefined && own.has(host) && !(end < now)
  })
  if (ours.length === 0) return findings.ok(subject, 'no client of this host is blocklisted')
  const some = ours.slice(0, 3).map(([address]) => address)
  findings.warning(
    subject,
    `${ours.length} clients of this host are blocklisted: ${some.join(', ')}${ours.length > some.length ? ', …' : ''}`,
    `of daemons that were killed they go by themselves; else: ceph osd blocklist rm ${some[0]}`,
  )
}
