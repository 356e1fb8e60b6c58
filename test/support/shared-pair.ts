import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import type { CephCluster } from './ceph-cluster.ts'
import { ClusterPair } from './pair.ts'
import { tryRun } from './run.ts'

/** The service map is told of changes every second rather than every five, and the watches of who was killed end after 10 s rather than 30. */
const QUICK = { mgr_stats_period: '1', osd_client_watch_timeout: '10' }
const ANSWERS_WITHIN_MS = 20_000
const PROBE = { pool: 'alive', oid: 'probe' }
const LINES_OF_A_CRASH = 60
const OF_A_CRASH = /Caught signal|FAILED|assert|in thread|^ \d+: /

/** The pair of clusters that all files of a run share; the caller closes it. */
export async function startSharedPair(): Promise<ClusterPair> {
  const pair = await ClusterPair.start({ options: QUICK })
  await makeProbe(pair)
  return pair
}

/**
 * A stock OSD that died or hangs would fail all files to come, although only one has met it: such a pair is replaced, in the same folder, and
 * the report says what is known of it.
 *
 * @returns what was wrong; undefined when nothing was
 */
export async function replaceIfBroken(pair: ClusterPair, patience = ANSWERS_WITHIN_MS): Promise<string | undefined> {
  const problems = await Promise.all([pair.a, pair.b].map((cluster) => problemOf(cluster, patience)))
  const told = problems.filter((problem) => problem !== undefined).join('\n')
  if (told === '') return undefined
  console.error(`the shared clusters are replaced by new ones:\n${told}`)
  // these have to outlive the file's process, unlike those that the whole run's owns
  await pair.startAgain({ options: QUICK, detached: true })
  await makeProbe(pair)
  return told
}

async function makeProbe(pair: ClusterPair): Promise<void> {
  for (const cluster of [pair.a, pair.b]) {
    await cluster.ceph('osd', 'pool', 'create', PROBE.pool, '1')
    await cluster.ceph('osd', 'pool', 'application', 'enable', PROBE.pool, 'test')
  }
}

/** Why a cluster takes no write; undefined when it does. */
async function problemOf(cluster: CephCluster, patience: number): Promise<string | undefined> {
  const result = await tryRun(['rados', '-c', cluster.conf, '-p', PROBE.pool, 'put', PROBE.oid, '-'], { input: 'alive', timeout: patience })
  if (result.code === 0) return undefined
  const [health, operations] = await Promise.all([
    tryRun(['ceph', '-c', cluster.conf, 'health', 'detail'], { timeout: ANSWERS_WITHIN_MS }).then(({ stdout, stderr }) => stdout + stderr),
    askAdminSocket(cluster.adminSocket('osd.0'), 'dump_ops_in_flight').catch(String),
  ])
  return [
    `${cluster.name} does not take a write (${result.late ? `no answer within ${patience} ms` : result.stderr.trim()})`,
    `osd.0 ${cluster.pid('osd.0') === undefined ? 'does not run' : 'runs'}`,
    health.trim(),
    operations.slice(0, 4000),
    crashOf(join(cluster.folder, 'log', 'osd.0.log')),
  ].join('\n')
}

/** A backtrace in the log of an OSD. */
function crashOf(log: string): string {
  if (!existsSync(log)) return ''
  const lines = readFileSync(log, 'utf8').split('\n')
  return lines
    .filter((line) => OF_A_CRASH.test(line))
    .slice(0, LINES_OF_A_CRASH)
    .join('\n')
}
