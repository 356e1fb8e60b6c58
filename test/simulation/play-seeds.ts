import { parseArgs } from 'node:util'
import { necessaryNemeses, playSeed } from './random-run.ts'

/*
 * Plays seeds, and writes a line for each that fails. random.test.ts runs one such program per core; by hand:
 *
 *     npx tsx test/simulation/play-seeds.ts --from 1 --count 1000
 *
 * --step N      every Nth seed
 * --seconds N   instead of a number, as many as fit into this time
 * --without A,B nemeses that are left out
 */

const { values } = parseArgs({
  options: {
    from: { type: 'string', default: '1' },
    count: { type: 'string', default: '30' },
    step: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    without: { type: 'string', default: '' },
  },
})
const without = new Set(values.without.split(',').filter((name) => name !== ''))
const step = Number(values.step)
/** More failures than this are not looked for. */
const MAX_FAILURES = 5

function* seeds(): Generator<number> {
  const from = Number(values.from)
  const last = values.seconds === undefined ? from + (Number(values.count) - 1) * step : Infinity
  const end = values.seconds === undefined ? Infinity : performance.now() + Number(values.seconds) * 1000
  for (let seed = from; seed <= last && performance.now() < end; seed += step) yield seed
}

const started = performance.now()
let played = 0
let failures = 0
for (const seed of seeds()) {
  played++
  try {
    await playSeed({ seed, without })
  } catch (error) {
    const needed = await necessaryNemeses(seed, without)
    console.log(
      `FAILED ${(error as Error).message}; it takes ${needed.join(', ') || 'no nemesis'}. Again: SIMULATION_SEED=${seed} npx vitest run --config config/vitest.config.ts --project simulation test/simulation/random.test.ts`,
    )
    if (++failures === MAX_FAILURES) break
  }
}
console.log(`${played} seeds, ${((1000 * played) / (performance.now() - started)).toFixed(1)} a second`)
process.exitCode = failures === 0 ? 0 : 1
