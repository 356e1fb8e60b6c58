// Two real clusters, site-a and site-b, for trying things out: `npm run clusters -- start [FOLDER]` and `… stop [FOLDER]`.
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CephCluster, INSTALL_CEPH, missingCephPrograms } from './ceph-cluster.ts'

const NAMES = ['site-a', 'site-b']
const USAGE = 'usage: npm run clusters -- start|stop [FOLDER] [--bluestore] [--stock-monitors]'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { bluestore: { type: 'boolean' }, 'stock-monitors': { type: 'boolean' } },
})
const [verb, folderArgument = join(tmpdir(), 'rbd-mirror-clusters')] = positionals
const folder = resolve(folderArgument)
try {
  if (verb === 'start') await start()
  else if (verb === 'stop') await stop()
  else throw new Error(USAGE)
} catch (error) {
  console.error((error as Error).message)
  process.exit(1)
}

async function start(): Promise<void> {
  const missing = missingCephPrograms()
  if (missing.length > 0) throw new Error(`not installed: ${missing.join(', ')}; ${INSTALL_CEPH}`)
  for (const name of NAMES) refuseForeign(name)
  const started = Date.now()
  const clusters = await Promise.all(
    NAMES.map((name) =>
      CephCluster.start({
        name,
        folder,
        detached: true,
        objectStore: values.bluestore ? 'bluestore' : 'memstore',
        quickPaxos: !values['stock-monitors'],
      }),
    ),
  )
  for (const cluster of clusters) {
    unlinkOwn(cluster.name)
    symlinkSync(cluster.conf, link(cluster.name))
  }
  console.log(`${NAMES.join(' and ')} run in ${folder} (started in ${Date.now() - started} ms); try: ceph --cluster ${NAMES[0]} -s`)
}

async function stop(): Promise<void> {
  for (const name of NAMES) {
    unlinkOwn(name)
    await CephCluster.remove({ folder, name })
  }
}

function link(name: string): string {
  return `/etc/ceph/${name}.conf`
}

function target(name: string): string | undefined {
  try {
    return lstatSync(link(name)).isSymbolicLink() ? readlinkSync(link(name)) : ''
  } catch {
    return undefined
  }
}

function refuseForeign(name: string): void {
  const found = target(name)
  if (found !== undefined && found !== join(folder, `${name}.conf`))
    throw new Error(`${link(name)} belongs to another cluster: move it away first`)
}

function unlinkOwn(name: string): void {
  if (target(name) === join(folder, `${name}.conf`)) unlinkSync(link(name))
}
