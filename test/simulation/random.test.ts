import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { playSeed } from './random-run.ts'

/*
 * Clients, operators and faults by chance, on every core. In the environment:
 *   SIMULATION_SEED      this seed alone
 *   SIMULATION_SEEDS     so many (default 60), from SIMULATION_FROM (default 1) on
 *   SIMULATION_SECONDS   instead as many as fit into this time
 *   SIMULATION_WITHOUT   nemeses that are left out, by commas
 *   SIMULATION_VERBOSE   with a seed: tells all that has happened before a failure
 */
const { env } = process
const without = env['SIMULATION_WITHOUT'] ?? ''
const only = env['SIMULATION_SEED']

/** Plays every `step`th seed; what the program has written. */
function playSeeds(from: number, step: number, total: number): Promise<string> {
  const amount = env['SIMULATION_SECONDS'] ? ['--seconds', env['SIMULATION_SECONDS']] : ['--count', String(Math.ceil(total / step))]
  const program = ['--import', createRequire(import.meta.url).resolve('tsx'), fileURLToPath(new URL('play-seeds.ts', import.meta.url))]
  const child = spawn(process.execPath, [...program, '--from', String(from), '--step', String(step), ...amount, '--without', without])
  let output = ''
  child.stdout.on('data', (data: Buffer) => (output += data.toString()))
  child.stderr.on('data', (data: Buffer) => (output += data.toString()))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => (code === 0 || output.includes('FAILED') ? resolve(output) : reject(new Error(`ended with ${signal ?? code}: ${output}`))))
  })
}

describe('any life of a mirrored image', () => {
  it('keeps to all invariants, and ends with both sites equal', async () => {
    if (only !== undefined) {
      await playSeed({ seed: Number(only), verbose: env['SIMULATION_VERBOSE'] !== undefined, without: new Set(without.split(',')) })
      return
    }
    const [from, total, programs] = [Number(env['SIMULATION_FROM'] ?? 1), Number(env['SIMULATION_SEEDS'] ?? 60), availableParallelism()]
    const outputs = await Promise.all(Array.from({ length: programs }, (_, index) => playSeeds(from + index, programs, total)))
    console.log(outputs.join(''))
    expect(outputs.flatMap((output) => output.split('\n').filter((line) => line.startsWith('FAILED')))).toEqual([])
  }, 3_600_000)

  it('is the same again for the same seed', async () => {
    const [first, second] = [await playSeed({ seed: 4 }), await playSeed({ seed: 4 })]
    expect(second.scene.world.trace).toBe(first.scene.world.trace)
  })
})
