import { spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Commands } from '../../../src/cli/quick-start/commands.ts'
import { daemonUser, JOURNAL_IMAGE, setUp, SNAPSHOT_IMAGE } from '../../../src/cli/quick-start/sites.ts'
import { waitFor } from '../../support/wait.ts'
import { MIB } from '../run.ts'
import { cost, rate, seconds, type LocalScenario } from '../scenario.ts'

const PROGRAM = fileURLToPath(new URL('../../../dist/cli/rbd-mirror.cjs', import.meta.url))
const [A, B] = ['bench-a', 'bench-b']
const BYTES = 64 * MIB
const WRITES = 8_192

/** Both modes between two clusters in folders: the first copy of a full image, and a backlog of journaled writes. Needs `npm run build`. */
export const emulatedMirroring: LocalScenario = {
  name: 'emulated-mirroring',
  title: 'emulated clusters in folders: mirroring',
  async run() {
    const before = process.cwd()
    const folder = await mkdtemp(join(tmpdir(), 'emulated-'))
    // `--cluster NAME` finds its configuration in the current directory
    process.chdir(folder)
    const commands = new Commands(() => undefined)
    try {
      await setUp({ a: A, b: B, dataFolder: join(folder, 'data'), redis: undefined }, commands)
      const content = randomFillSync(Buffer.allocUnsafe(BYTES))
      await writeFile('content', content)
      const image = `${SNAPSHOT_IMAGE}-full`
      await commands.rbd('--cluster', A, 'import', '--no-progress', 'content', image)
      await commands.rbd('--cluster', A, 'mirror', 'image', 'enable', image, 'snapshot')
      const first = await mirrored(commands, [image, JOURNAL_IMAGE])
      const load = ['--io-type', 'write', '--io-size', '4K', '--io-total', String(WRITES * 4096), '--io-pattern', 'rand', '--io-threads', '16']
      await commands.rbd('--cluster', A, 'bench', ...load, JOURNAL_IMAGE)
      const backlog = await mirrored(commands, [JOURNAL_IMAGE])
      await commands.rbd('--cluster', B, 'export', '--no-progress', image, 'copy')
      if (!(await readFile('copy')).equals(content)) throw new Error('the replica differs')
      return {
        'initial sync, daemon start included': seconds(first.seconds),
        'initial sync': rate(BYTES / MIB / first.seconds, 'MiB/s'),
        'daemon CPU per GiB': cost(first.cpuSeconds / (BYTES / 1024 / MIB), 's'),
        'journal backlog, daemon start included': seconds(backlog.seconds),
        'journal backlog': rate(WRITES / backlog.seconds, 'writes/s'),
        'daemon CPU per write': cost((backlog.cpuSeconds / WRITES) * 1e6, 'us'),
      }
    } finally {
      process.chdir(before)
      await rm(folder, { recursive: true, force: true })
    }
  },
}

/** Runs site B's daemon until these images are level. */
async function mirrored(commands: Commands, images: readonly string[]): Promise<{ seconds: number; cpuSeconds: number }> {
  const args = ['-f', '--cluster', B, '--id', daemonUser(B), '--log-file=log', '--rbd-mirror-metrics-port=0']
  const started = performance.now()
  const daemon = spawn(process.execPath, [PROGRAM, ...args], { stdio: 'ignore' })
  const ended = once(daemon, 'exit')
  try {
    for (const image of images) {
      await waitFor(`${image} to be level`, async () => isLevel(commands, image), { timeout: 120_000, interval: 20 })
    }
    return { seconds: (performance.now() - started) / 1000, cpuSeconds: await cpuSecondsOf(daemon.pid!) }
  } finally {
    daemon.kill('SIGTERM')
    await ended
  }
}

async function isLevel(commands: Commands, image: string): Promise<boolean> {
  const { status, output } = await commands.tryRbd('--cluster', B, 'mirror', 'image', 'status', image, '--format', 'json')
  if (status !== 0) return false
  const { state, description } = JSON.parse(output) as { state: string; description: string }
  const level = image === JOURNAL_IMAGE ? /"entries_behind_primary":0/.test(description) : /"replay_state":"idle"/.test(description)
  return state === 'up+replaying' && level
}

/** utime and stime, in ticks of 1/100 s */
async function cpuSecondsOf(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
