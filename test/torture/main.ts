// Writes, snapshots, failovers and faults at random on two real clusters of its own: `npm run torture -- --minutes N [--seed S] [--mixed] [--bluestore]`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { askAdminSocket } from '../../src/daemon/ask-admin-socket.ts'
import { INSTALL_CEPH, missingCephPrograms } from '../support/ceph-cluster.ts'
import { ClusterPair } from '../support/pair.ts'
import { faults, pickAction } from './actions.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { POOL, World } from './world.ts'

const USAGE = 'usage: npm run torture -- [--minutes N] [--seed S] [--mixed] [--bluestore]'
/** A fault comes along with so many of the other actions. */
const FAULTS_PER_ACTION = 0.3

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '5' }, seed: { type: 'string' }, mixed: { type: 'boolean', default: false }, bluestore: { type: 'boolean', default: false } },
})
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error(USAGE)
  process.exit(2)
}
const missing = missingCephPrograms()
if (missing.length > 0) {
  console.error(`not installed: ${missing.join(', ')}; ${INSTALL_CEPH}`)
  process.exit(2)
}

const startedAt = Date.now()
const tell = (text: string) => console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${text}`)
const counts = new Map<string, number>()
const failures: string[] = []

console.log(`seed ${seed}, ${minutes} min, ${values.mixed ? 'our daemon and the stock one in turn' : 'our daemon alone'}`)
const pair = await ClusterPair.start({ objectStore: values.bluestore ? 'bluestore' : 'memstore', options: { mgr_stats_period: '1', osd_client_watch_timeout: '10' } })
const dice = new SeededRandom(seed)
const world = new World(pair, dice, values.mixed, tell)
try {
  await world.begin()
  for (const until = Date.now() + minutes * 60_000; Date.now() < until && failures.length === 0; ) await step()
  for (const victim of world.victims) if (failures.length === 0) await attempt(`last check of ${victim.spec}`, () => world.check(victim))
} catch (error) {
  failures.push(`set-up: ${(error as Error).stack ?? String(error)}`)
} finally {
  if (failures.length > 0) await keepEvidence()
  for (const daemon of Object.values(world.daemons)) await daemon.kill()
  await pair.close()
}
console.log([...counts].sort(([x], [y]) => (x < y ? -1 : 1)).map(([name, count]) => `${name}: ${count}`).join(', '))
console.log(failures.length === 0 ? `all is well; seed ${seed}` : `FAILED, seed ${seed}:\n${failures.join('\n')}`)
process.exit(failures.length === 0 ? 0 : 1)

async function step(): Promise<void> {
  const action = pickAction(world, ({ name }) => !faults.has(name))
  const victim = dice.pick(world.victims)
  const fault = dice.chance(FAULTS_PER_ACTION) ? pickAction(world, ({ name }) => faults.has(name)) : undefined
  tell(`${action.name} ${victim.spec} (primary on ${victim.primary})${fault ? `, meanwhile: ${fault.name}` : ''}`)
  await Promise.all([attempt(`${action.name} ${victim.spec}`, () => action.run(world, victim)), fault && attempt(fault.name, () => fault.run(world, victim))])
  for (const { name } of fault ? [action, fault] : [action]) counts.set(name, (counts.get(name) ?? 0) + 1)
}

async function attempt(what: string, task: () => Promise<void>): Promise<void> {
  try {
    await task()
  } catch (error) {
    tell(`FAILED ${what}`)
    failures.push(`${what}: ${(error as Error).stack ?? String(error)}`)
  }
}

/** What the daemons and the clusters say; then the clusters go. */
async function keepEvidence(): Promise<void> {
  const folder = `torture-${seed}`
  mkdirSync(folder, { recursive: true })
  for (const site of ['a', 'b'] as const) {
    const daemon = world.daemons[site]
    writeFileSync(`${folder}/${site}.log`, daemon ? daemon.log() + daemon.output() : '')
    const cluster = pair[site]
    const said = await Promise.all([
      cluster.ceph('-s').catch(String),
      askAdminSocket(cluster.adminSocket('osd.0'), 'dump_ops_in_flight').catch(String),
      cluster.rbd('mirror', 'pool', 'status', '--verbose', POOL).catch(String),
    ])
    writeFileSync(`${folder}/${site}.cluster`, said.join('\n'))
  }
  console.log(`what daemons and clusters said: ${folder}`)
}
