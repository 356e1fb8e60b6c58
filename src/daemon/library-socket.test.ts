import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../base/log.ts'
import { Metrics } from '../observability/metrics.ts'
import { AdminRegistry } from './admin-registry.ts'
import { AdminSocket } from './admin-socket.ts'
import { LibrarySocket, registerLibraryCommands } from './library-socket.ts'
import { registerPerfCommands } from './perf-commands.ts'

let folder: string
let library: LibrarySocket
let registry: AdminRegistry
let metrics: Metrics
let close: () => unknown

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rbd-mirror-library-'))
  library = new LibrarySocket(join(folder, 'ours.asok'))
  registry = new AdminRegistry()
  metrics = new Metrics()
  registerPerfCommands(registry, metrics, library)
  registerLibraryCommands(registry, library)
  close = () => undefined
})
afterEach(async () => {
  await close()
  rmSync(folder, { recursive: true })
})

const answer = (prefix: string, args: object = {}) => registry.execute(JSON.stringify({ prefix, ...args }))
const ask = async (prefix: string, args?: object) => JSON.parse(await answer(prefix, args)) as Record<string, Record<string, unknown>>

/** What librados has at its socket. */
async function serve(path: string, commands: Record<string, (args: Record<string, unknown>) => unknown>): Promise<void> {
  const socket = await AdminSocket.listen(
    path,
    undefined,
    (request) => {
      const args = JSON.parse(request) as Record<string, unknown>
      const run = commands[String(args['prefix'])]
      return Promise.resolve(run ? JSON.stringify(run(args)) : 'ERROR: (22) Invalid argument\n')
    },
    silentLog,
  )
  close = () => socket.close()
}

describe('what the library answers', () => {
  it('is passed on, from the newest connection', async () => {
    library.next()
    await serve(library.next()!, { objecter_requests: () => ({ ops: [] }), dump_mempools: () => ({ mempool: {} }) })
    expect(await ask('objecter_requests')).toEqual({ ops: [] })
    expect(await ask('dump_mempools')).toEqual({ mempool: {} })
  })

  it('stands beside our counters, and is reset with them', async () => {
    const image = metrics.image({ pool: 'p', namespace: '', peer: 'a', globalImageId: 'g' })
    image.observeSync(2, 4096)
    let reset: unknown
    await serve(library.next()!, {
      'perf dump': () => ({ objecter: { op: 3 } }),
      'perf schema': () => ({ objecter: { op: {} } }),
      'perf histogram dump': () => ({ objecter: {} }),
      'perf reset': (args) => ((reset = args['var']), args['var'] === 'nope' ? { error: 'Not find: nope' } : { success: '' }),
    })
    expect(await ask('perf dump')).toMatchObject({ objecter: { op: 3 }, rbd_mirror_snapshot: { snapshots: 1, sync_bytes: 4096, sync_time: { avgcount: 1, sum: 2 } } })
    expect(Object.keys(await ask('perf schema'))).toEqual(['objecter', 'rbd_mirror_journal', 'rbd_mirror_snapshot'])
    expect(await ask('perf histogram dump')).toEqual({ objecter: {}, rbd_mirror_journal: {}, rbd_mirror_snapshot: {} })
    expect(await ask('perf reset', { var: 'all' })).toEqual({ success: 'perf reset all' })
    expect(reset).toBe('all')
    expect(await ask('perf dump')).toMatchObject({ rbd_mirror_snapshot: { snapshots: 0, sync_bytes: 0, sync_time: { avgcount: 0, sum: 0, avgtime: 0 } } })
    image.observeSync(1, 100)
    expect(await ask('perf dump', { logger: 'rbd_mirror_snapshot' })).toMatchObject({ rbd_mirror_snapshot: { snapshots: 1, sync_bytes: 100, sync_time: { avgtime: 1 } } })
    expect(metrics.totals().syncs).toBe(2)
    expect(await ask('perf reset', { var: 'nope' })).toEqual({ error: 'Not find: nope' })
    expect(await answer('perf reset')).toMatch(/^ERROR: \(22\)/)
  })

  it('is missed without harm while there is no connection, and when it hangs', async () => {
    expect(await answer('objecter_requests')).toMatch(/^ERROR: \(107\).*\nthere is no connection to the local cluster/)
    expect(Object.keys(await ask('perf dump'))).toEqual(['rbd_mirror_journal', 'rbd_mirror_snapshot'])
    const path = library.next()!
    expect(await answer('objecter_requests')).toMatch(/librados does not answer/)
    const deaf: Server = createServer(() => undefined)
    await new Promise<void>((resolve) => deaf.listen(path, resolve))
    close = () => deaf.close()
    expect(await answer('dump_mempools')).toMatch(/no answer to 'dump_mempools' within/)
  })

  it('is asked by few at a time, and all get their sections', async () => {
    let now = 0
    let most = 0
    const socket = await AdminSocket.listen(
      library.next()!,
      undefined,
      async () => {
        most = Math.max(most, ++now)
        await new Promise((resolve) => setTimeout(resolve, 2))
        now--
        return '{"objecter":{"op":3}}'
      },
      silentLog,
    )
    close = () => socket.close()
    const answers = await Promise.all(Array.from({ length: 32 }, () => ask('perf dump')))
    for (const sections of answers) expect(sections).toHaveProperty('objecter')
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThan(5)
  })

  it('has no socket beside one whose path is as long as can be, or that is not there', () => {
    expect(new LibrarySocket(`/${'x'.repeat(104)}`).next()).toBeUndefined()
    expect(new LibrarySocket(undefined).next()).toBeUndefined()
  })
})
