import { spawn } from 'node:child_process'
import { closeSync, writeSync } from 'node:fs'

/** Number of the descriptor on which the process in the background tells how its start went. */
const reportDescriptor = 3
const marker = 'RBD_MIRROR_REPORT_FD'
const readyWord = 'ready\n'

/** libuv's threads: a few of them may hang in calls to a cluster that is down, and names and files need some too. */
export const threadPoolSize = '24'

/** Whether this process was started by `runInBackground`. */
export function isInBackground(): boolean {
  return process.env[marker] === String(reportDescriptor)
}

/**
 * Starts this program again, detached from the terminal, and waits until it is ready or has failed. A process of Node can't fork: its
 * threads would be lost. The working directory stays, for the conf files of peers are looked for there too.
 *
 * @returns the exit status for this process: 0 once the other one is ready
 */
export function runInBackground(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...process.env, [marker]: String(reportDescriptor), UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] ?? threadPoolSize },
  })
  // Who gives up waiting does not want it to go on.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill('SIGTERM'))
  return new Promise((resolve, reject) => {
    let report = ''
    child.once('error', reject)
    child.stdio[reportDescriptor]!.on('data', (chunk: Buffer) => {
      report += chunk.toString()
      if (!report.endsWith(readyWord)) return
      child.unref()
      resolve(0)
    })
    child.once('close', (code, signal) => {
      process.stderr.write(report === '' ? `rbd-mirror: the daemon ended before it was ready (${signal ?? `status ${code}`})\n` : report)
      resolve(code === null || code === 0 ? 1 : code)
    })
  })
}

/** How a start went: to whoever started us in the background, else to the terminal. */
export class StartReport {
  private open: boolean

  constructor(readonly background: boolean) {
    this.open = background
    delete process.env[marker] // it is not for what this process starts
  }

  ready(): void {
    if (this.background) this.finish(readyWord)
  }

  /** One line without its end. In the background it goes nowhere once the start is over: then there is the log. */
  failed(message: string): void {
    if (this.background) this.finish(`rbd-mirror: ${message}\n`)
    else process.stderr.write(`rbd-mirror: ${message}\n`)
  }

  private finish(text: string): void {
    if (!this.open) return
    this.open = false
    try {
      writeSync(reportDescriptor, text)
      closeSync(reportDescriptor)
    } catch {
      return // EPIPE: whoever started us has gone; that must not stop the daemon.
    }
  }
}
