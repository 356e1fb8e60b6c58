import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ConfigError } from '../../config/config-error.ts'
import { daemonUser, type Sites } from './sites.ts'

/** The daemons of both sites, as an operator would run them: `rbd-mirror -f --cluster SITE --id USER`. They end with this process. */
export class Daemons {
  private readonly running = new Map<string, ChildProcess>()

  /** @param onEnd told of a daemon that ends by itself, with its last words */
  constructor(
    private readonly sites: Sites,
    private readonly onEnd: (error: ConfigError) => void,
  ) {}

  /** @param port of the site's status page */
  start(site: string, port: number): void {
    const log = join(this.sites.dataFolder, `rbd-mirror-${site}.log`)
    const args = ['-f', '--cluster', site, '--id', daemonUser(site), `--log-file=${log}`, `--rbd-mirror-metrics-port=${port}`]
    // the same program, however it was started
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.running.set(site, child)
    let words = ''
    child.stderr.on('data', (data: Buffer) => void (words = (words + data.toString()).slice(-2000)))
    child.once('error', (error) => this.onEnd(new ConfigError(`the daemon of ${site} can't be started: ${error.message}`)))
    child.once('exit', (code, signal) => {
      if (this.running.delete(site)) this.onEnd(new ConfigError(`the daemon of ${site} has ended (${signal ?? `status ${code}`}): ${words.trim() || `see ${log}`}`))
    })
  }

  async stop(): Promise<void> {
    const children = [...this.running.values()]
    this.running.clear()
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const ended = once(child, 'exit')
        child.kill('SIGTERM')
        await ended
      }),
    )
  }
}
