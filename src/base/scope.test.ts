import { describe, expect, it } from 'vitest'
import { Cancelled } from './cancelled.ts'
import { Scope } from './scope.ts'

/** A task that ends only by cancellation. */
function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }))
}

describe('Scope', () => {
  it('awaits its children when it closes, and cancellation is no failure', async () => {
    const ended: string[] = []
    const scope = new Scope()
    scope.spawn('slow', async (signal) => {
      try {
        await untilAborted(signal)
      } finally {
        await Promise.resolve()
        ended.push('slow')
      }
    })
    scope.spawn('quick', async () => void ended.push('quick'))
    expect(ended).toEqual(['quick'])
    await scope.close()
    expect(ended).toEqual(['quick', 'slow'])
    expect(scope.size).toBe(0)
  })

  it('fails with the first failure, after cancelling the others', async () => {
    const scope = new Scope()
    let cancelled: unknown
    scope.spawn('other', async (signal) => untilAborted(signal).catch((error: unknown) => void (cancelled = error)))
    scope.spawn('broken', async () => {
      throw new Error('broken')
    })
    await expect(scope.close()).rejects.toThrow('broken')
    expect(cancelled).toBeInstanceOf(Cancelled)
    await scope.close() // told once
  })

  it('gives failures to onError and goes on', async () => {
    const failures: string[] = []
    const scope = new Scope(undefined, (error, task) => failures.push(`${task}: ${(error as Error).message}`))
    scope.spawn('a', async () => {
      throw new Error('one')
    })
    await Promise.resolve()
    expect(scope.signal.aborted).toBe(false)
    await scope.close()
    expect(failures).toEqual(['a: one'])
  })

  it('is cancelled with its parent, and starts nothing afterwards', async () => {
    const parent = new AbortController()
    const scope = new Scope(parent.signal)
    let aborted = false
    scope.spawn('child', async (signal) => untilAborted(signal).catch(() => void (aborted = true)))
    parent.abort(new Cancelled('parent'))
    let started = false
    scope.spawn('late', async () => void (started = true))
    await scope.close()
    expect({ aborted, started }).toEqual({ aborted: true, started: false })
    expect(new Scope(parent.signal).signal.aborted).toBe(true)
  })

  it('closes at the end of an await-using block', async () => {
    let ended = false
    {
      await using scope = new Scope()
      scope.spawn('child', async (signal) => untilAborted(signal).catch(() => void (ended = true)))
    }
    expect(ended).toBe(true)
  })
})
