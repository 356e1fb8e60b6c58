import { describe, expect, it } from 'vitest'
import { necessaryNemeses, playSeed } from './random-run.ts'

/*
 * Clients, operators and faults by chance. In the environment:
 *   SIMULATION_SEED      this seed alone
 *   SIMULATION_SEEDS     so many (default 30), from SIMULATION_FROM (default 1) on
 *   SIMULATION_SECONDS   instead as many as fit into this time
 *   SIMULATION_WITHOUT   nemeses that are left out, by commas
 *   SIMULATION_VERBOSE   tells all that has happened before a failure
 */
const { env } = process
const given = (name: string, fallback: number): number => Number(env[name] ?? fallback)
const only = env['SIMULATION_SEED']
const without = new Set((env['SIMULATION_WITHOUT'] ?? '').split(',').filter((name) => name !== ''))
const verbose = env['SIMULATION_VERBOSE'] !== undefined
/** More failures than this are not looked for. */
const MAX_FAILURES = 5

function* seeds(): Generator<number> {
  if (only !== undefined) {
    yield Number(only)
    return
  }
  const from = given('SIMULATION_FROM', 1)
  const seconds = given('SIMULATION_SECONDS', 0)
  const count = seconds > 0 ? Infinity : given('SIMULATION_SEEDS', 30)
  const end = seconds > 0 ? performance.now() + seconds * 1000 : Infinity
  for (let seed = from; seed < from + count && performance.now() < end; seed++) yield seed
}

describe('any life of a mirrored image', () => {
  it('keeps to all invariants, and ends with both sites equal', async () => {
    const failures: string[] = []
    const started = performance.now()
    let played = 0
    for (const seed of seeds()) {
      played++
      try {
        await playSeed({ seed, verbose, without })
      } catch (error) {
        const needed = await necessaryNemeses(seed, without)
        failures.push(`${(error as Error).message}; it takes ${needed.join(', ') || 'no nemesis'}. Again: SIMULATION_SEED=${seed} npx vitest run --config config/vitest.config.ts --project simulation test/simulation/random.test.ts`)
        if (failures.length === MAX_FAILURES) break
      }
    }
    console.log(`${played} seeds, ${((1000 * played) / (performance.now() - started)).toFixed(1)} a second`)
    expect(failures).toEqual([])
  }, 3_600_000)

  it('is the same again for the same seed', async () => {
    const [first, second] = [await playSeed({ seed: 4 }), await playSeed({ seed: 4 })]
    expect(second.scene.world.trace).toBe(first.scene.world.trace)
  })
})
