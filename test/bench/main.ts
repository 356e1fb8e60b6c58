// `npm run bench`: our daemon and the installed stock daemon, in turn, on the same pair of real clusters; and what needs no clusters.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { INSTALL_CEPH, missingCephPrograms } from '../support/ceph-cluster.ts'
import { ClusterPair } from '../support/pair.ts'
import { BenchRun, MIB, setMonitors, type BenchParameters } from './run.ts'
import type { LocalScenario, Metrics, Scenario } from './scenario.ts'
import { deltasQuick, deltasStock } from './scenarios/deltas.ts'
import { emulatedMirroring } from './scenarios/emulated-mirroring.ts'
import { emulator } from './scenarios/emulator.ts'
import { failoverQuick, failoverStock } from './scenarios/failover.ts'
import { initialSync } from './scenarios/initial-sync.ts'
import { journalCatchUp, journalCatchUpLarge } from './scenarios/journal-catch-up.ts'
import { journalFailover } from './scenarios/journal-failover.ts'
import { journalInitialSync } from './scenarios/journal-initial-sync.ts'
import { journalLag } from './scenarios/journal-lag.ts'
import { journalMany } from './scenarios/journal-many.ts'
import { manyImages } from './scenarios/many-images.ts'
import { thousandImages } from './scenarios/thousand-images.ts'
import { table, type Sample, type Side } from './table.ts'

const SCENARIOS: readonly Scenario[] = [
  initialSync,
  deltasQuick,
  deltasStock,
  failoverQuick,
  failoverStock,
  manyImages,
  thousandImages,
  journalInitialSync,
  journalCatchUp,
  journalCatchUpLarge,
  journalLag,
  journalFailover,
  journalMany,
]

const LOCAL_SCENARIOS: readonly LocalScenario[] = [emulator, emulatedMirroring]

const USAGE = `usage: npm run bench -- [options]
  --scenario NAME   only this one (may be repeated; snapshot or journal: all of that mode)
  --reps N          repetitions of each scenario with each daemon (3)
  --size MIB        size of the image of the initial sync and the deltas (2048)
  --images N        number of images of many-images (200)
  --writes N        writes of journal-catch-up (51200)
  --seconds N       seconds of live load, and of watching an idle daemon (30)
  --only SIDE       ours or stock
  --arg ARG         an argument for our daemon and the stock one (may be repeated)
  --json FILE       all samples as JSON
scenarios: ${[...SCENARIOS, ...LOCAL_SCENARIOS].map(({ name }) => name).join(' ')}`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', multiple: true },
      reps: { type: 'string', default: '3' },
      size: { type: 'string', default: '2048' },
      images: { type: 'string', default: '200' },
      writes: { type: 'string', default: '51200' },
      seconds: { type: 'string', default: '30' },
      only: { type: 'string' },
      arg: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const parameters: BenchParameters = {
    size: count('size', values.size) * MIB,
    images: count('images', values.images),
    writes: count('writes', values.writes),
    seconds: count('seconds', values.seconds),
    args: values.arg,
  }
  const repetitions = count('reps', values.reps)
  const { mirroring, local } = chooseScenarios(values.scenario)
  if (values.only !== undefined && values.only !== 'ours' && values.only !== 'stock') throw new Error(USAGE)
  const results = new Results()
  if (local.length > 0 && values.only !== 'stock') {
    build()
    await runLocal(local, repetitions, results)
  }
  if (mirroring.length > 0) await runMirroring(mirroring, repetitions, values.only ? [values.only] : ['stock', 'ours'], parameters, results)
  console.log(table(results.samples))
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ parameters, samples: results.samples }, undefined, 2)}\n`)
  if (results.failures > 0) console.error(`${results.failures} runs failed`)
  return results.failures === 0 ? 0 : 1
}

class Results {
  readonly samples: Sample[] = []
  failures = 0

  /** Measures once, and tells what came out. */
  async add({ name, title }: LocalScenario | Scenario, side: Side, repetition: number, measure: () => Promise<Metrics>): Promise<void> {
    const load = loadavg()[0]!
    try {
      const metrics = await measure()
      this.samples.push({ scenario: name, title, side, repetition, metrics })
      const figures = Object.entries(metrics).map(([metric, { value, unit }]) => `${metric} ${value.toFixed(2)} ${unit}`)
      console.error(`${name} #${repetition + 1} ${side} (load ${load.toFixed(1)}): ${figures.join('; ')}`)
    } catch (error) {
      this.failures++
      console.error(`${name} #${repetition + 1} ${side} FAILED: ${(error as Error).message}`)
    }
  }
}

async function runLocal(scenarios: readonly LocalScenario[], repetitions: number, results: Results): Promise<void> {
  for (const scenario of scenarios) {
    for (let repetition = 0; repetition < repetitions; repetition++) await results.add(scenario, 'ours', repetition, () => scenario.run())
  }
}

async function runMirroring(scenarios: readonly Scenario[], repetitions: number, sides: readonly Side[], parameters: BenchParameters, results: Results): Promise<void> {
  const missing = missingCephPrograms()
  if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}; ${INSTALL_CEPH}`)
  if (sides.includes('ours')) build()

  await using pair = await ClusterPair.start({ storeSize: 16 * 1024 * MIB })
  const { a, b } = await pair.connect()
  for (const scenario of scenarios) {
    await setMonitors(pair, scenario.monitors)
    for (let repetition = 0; repetition < repetitions; repetition++) {
      // Whoever goes first alternates: neither always finds the warmer machine.
      for (const side of repetition % 2 === 0 ? sides : sides.toReversed()) {
        const run = new BenchRun(pair, a, b, side === 'ours' ? 'dist' : 'stock', `bench-${scenario.name}-${side}-${repetition}`, parameters)
        await results.add(scenario, side, repetition, async () => {
          try {
            await run.prepare()
            const metrics = await scenario.run(run)
            await run.finish()
            return metrics
          } catch (error) {
            await run.abandon()
            throw error
          }
        })
      }
    }
  }
}

interface Chosen {
  readonly mirroring: readonly Scenario[]
  readonly local: readonly LocalScenario[]
}

function chooseScenarios(names: readonly string[] | undefined): Chosen {
  if (!names) return { mirroring: SCENARIOS, local: LOCAL_SCENARIOS }
  const journal = (scenario: Scenario) => scenario.name.startsWith('journal-')
  const chosen = names.map((name): Chosen => {
    const mirroring = SCENARIOS.filter(
      (scenario) => scenario.name === name || (name === 'journal' && journal(scenario)) || (name === 'snapshot' && !journal(scenario)),
    )
    const local = LOCAL_SCENARIOS.filter((scenario) => scenario.name === name)
    if (mirroring.length + local.length === 0) throw new Error(`no scenario ${name}\n${USAGE}`)
    return { mirroring, local }
  })
  return { mirroring: chosen.flatMap(({ mirroring }) => mirroring), local: chosen.flatMap(({ local }) => local) }
}

function count(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a positive whole number, not '${text}'`)
  return value
}

/** The measured daemon is the built one, as it is installed. */
function build(): void {
  const built = spawnSync('npm', ['run', '--silent', 'build'], { cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`npm run build failed:\n${built.stdout}${built.stderr}`)
}

try {
  process.exit(await main())
} catch (error) {
  console.error((error as Error).message)
  process.exit(1)
}
