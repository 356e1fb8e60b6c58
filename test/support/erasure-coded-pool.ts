import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CephCluster } from './ceph-cluster.ts'
import { run } from './run.ts'

const RULE = 'erasure_on_one'
const STEP = ['step take default', 'step choose indep 1 type osd', 'step emit']

/**
 * Makes an erasure-coded pool that images can keep their data in, on a cluster with a single OSD: its placement rule puts all three shards there.
 */
export async function createErasureCodedPool(cluster: CephCluster, name: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'erasure-coded-'))
  try {
    const [binary, text, changed] = ['map', 'map.txt', 'map.new'].map((file) => join(folder, file)) as [string, string, string]
    await cluster.ceph('osd', 'getcrushmap', '-o', binary)
    await run(['crushtool', '-d', binary, '-o', text])
    const lines = readFileSync(text, 'utf8')
    if (!lines.includes(RULE)) {
      const rule = [`rule ${RULE} {`, 'id 9', 'type erasure', 'min_size 1', 'max_size 10', ...STEP, ...STEP, ...STEP, '}', ''].join('\n')
      writeFileSync(text, lines + rule)
      await run(['crushtool', '-c', text, '-o', changed])
      await cluster.ceph('osd', 'setcrushmap', '-i', changed)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  await cluster.ceph('config', 'set', 'mon', 'mon_debug_no_require_bluestore_for_ec_overwrites', 'true')
  await cluster.ceph('osd', 'erasure-code-profile', 'set', 'two-and-one', 'k=2', 'm=1', 'crush-failure-domain=osd')
  await cluster.ceph('osd', 'pool', 'create', name, '8', '8', 'erasure', 'two-and-one', RULE)
  await cluster.ceph('osd', 'pool', 'set', name, 'allow_ec_overwrites', 'true')
  await cluster.ceph('osd', 'pool', 'application', 'enable', name, 'rbd')
}
