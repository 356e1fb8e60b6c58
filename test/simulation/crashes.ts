import { expect } from 'vitest'
import { Scene, type SceneOptions } from './scene.ts'

export const verbose = process.env['SIMULATION_VERBOSE'] !== undefined
const only = process.env['SIMULATION_CRASH_AT']

/** Every operation, or, where time is short, every so many. */
export function stride(usual: number): number {
  return process.env['SIMULATION_EVERY_OPERATION'] === undefined && only === undefined ? usual : 1
}

/** A site's daemon dies at its operation number `at` from now on. Returns how many it has begun when asked. */
export function armCrash({ world, daemons }: Scene, site: 'a' | 'b', at: number): () => number {
  let operations = 0
  const victim = daemons[site].process
  world.operationListeners.push(({ process }) => {
    if (process === victim && operations++ === at) daemons[site].kill()
  })
  return () => operations
}

/** Plays the same again and again, with a crash at another operation each time; tells of all that went wrong. */
export async function forEachOperation(
  seed: number,
  range: { from?: number; to: number; stride: number },
  play: (scene: Scene, at: number) => Promise<void>,
  options: SceneOptions = {},
): Promise<void> {
  const failures: string[] = []
  for (let at = range.from ?? 0; at < range.to; at += range.stride) {
    if (only !== undefined && Number(only) !== at) continue
    await Scene.play(seed, (scene) => play(scene, at), { verbose, ...options }).catch((error: unknown) => {
      failures.push(`SIMULATION_CRASH_AT=${at}: ${(error as Error).message}${verbose ? (error as Error).stack : ''}`)
    })
  }
  expect(failures).toEqual([])
}
