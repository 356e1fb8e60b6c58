import { runRbd } from '../../src/cli/rbd/frame/run.ts'
import type { Terminal } from '../../src/cli/rbd/frame/terminal.ts'
import { libradosDriver } from '../../src/drivers/librados/driver.ts'
import type { Cluster } from '../../src/rados/cluster.ts'
import type { CephCluster } from './ceph-cluster.ts'

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Our `rbd` within this process, on one connection for all of its commands. */
export class OurRbd implements AsyncDisposable {
  private constructor(
    private readonly cluster: Pick<CephCluster, 'conf'>,
    private readonly connection: Cluster,
  ) {}

  static async connect(cluster: Pick<CephCluster, 'name' | 'conf'>): Promise<OurRbd> {
    const connection = await libradosDriver.connect({ name: cluster.name, entity: 'client.admin', confFile: cluster.conf, options: {} })
    return new OurRbd(cluster, connection)
  }

  /** On a connection of any driver, which is closed with it. */
  static on(cluster: Pick<CephCluster, 'conf'>, connection: Cluster): OurRbd {
    return new OurRbd(cluster, connection)
  }

  async run(args: readonly string[], input: string | Buffer = ''): Promise<CommandResult> {
    const stdout: Buffer[] = []
    const stderr: string[] = []
    let unread = Buffer.from(input)
    const terminal: Terminal = {
      out: (text) => void stdout.push(Buffer.from(text)),
      err: (text) => void stderr.push(text),
      readInput(max) {
        const read = unread.subarray(0, max)
        unread = unread.subarray(read.length)
        return Promise.resolve(read)
      },
      flush: () => Promise.resolve(),
      inputIsTty: false,
      outputIsTty: false,
    }
    // a command closes its connection: this one stays
    const shared = Object.create(this.connection, { close: { value: () => Promise.resolve() } }) as Cluster
    const code = await runRbd(['-c', this.cluster.conf, ...args], { terminal, environment: {}, connect: () => Promise.resolve(shared) })
    return { code, stdout: Buffer.concat(stdout).toString(), stderr: stderr.join('') }
  }

  async close(): Promise<void> {
    await this.connection.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const logLine = /\d{4}-\d\d-\d\dT[\d:.]+[+-]\d{4} [0-9a-f]{6,} -1 (.*)\n/g

export interface Comparable {
  code: number | null
  stdout: string[]
  /** what the command itself says, and what its library logs: they are written by different threads of the C++ tool */
  said: string[]
  logged: string[]
}

/**
 * A result without what is different each time: ids, uuids, addresses, times.
 *
 * @param masks more of that kind, e.g. the pool's name
 */
export function comparable({ code, stdout, stderr }: CommandResult, masks: readonly (readonly [RegExp, string])[] = []): Comparable {
  const mask = (text: string) => {
    let masked = text
    for (const [pattern, replacement] of masks) masked = masked.replace(pattern, replacement)
    return masked
      .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID')
      .replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{10,14}\b/g, 'ID')
      // a column as wide as its longest id
      .replace(/^ID {2,}/gm, 'ID  ')
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}/g, 'TIME')
      .replace(/^eyJ[\w+/=]+$/gm, 'TOKEN')
  }
  const lines = (text: string) => mask(text).split('\n')
  const logged = [...stderr.matchAll(logLine)].map(([, text]) => mask(text!).replace(/ 0x[0-9a-f]+/, ' ').replace(/ {2,}/g, ' '))
  const said = lines(stderr.replace(logLine, '')).filter((line) => line.trim() !== '')
  // a log line may have come between the two halves of a line
  return { code, stdout: lines(stdout), said: [said.join(' ').replace(/ {2,}/g, ' ').trim()], logged: logged.map((line) => line.trim()).sort() }
}
