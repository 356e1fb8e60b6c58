import { createRequire } from 'node:module'
import type nodeCron from 'node-cron'

/** Calls back at every full minute until the returned function is called. */
export function everyMinute(callback: () => void): () => void {
  // loaded only where it is needed: real clusters run schedules themselves
  const cron = createRequire(import.meta.url)('node-cron') as typeof nodeCron
  const task = cron.schedule('* * * * *', callback)
  return () => void task.destroy()
}
