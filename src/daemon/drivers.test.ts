import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import * as mirror from '../cls/rbd/mirror-client.ts'
import { driverFor, emulator } from './drivers.ts'

it('a cluster in a folder is reached through a configuration file and a keyring, as a Ceph cluster is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drivers-'))
  try {
    const monHost = pathToFileURL(join(folder, 'cluster')).href
    const { fsid, adminKey } = await (await emulator()).create({ monHost })
    const confFile = join(folder, 'site-a.conf')
    await writeFile(confFile, `[global]\nmon_host = ${monHost}\nkeyring = ${folder}/$cluster.keyring\nrbd_default_order = 23\n[client]\nrbd_concurrent_management_ops = 7\n`)
    await writeFile(join(folder, 'site-a.keyring'), `[client.admin]\n\tkey = ${adminKey}\n`)
    const driver = await driverFor(monHost)
    const cluster = await driver.connect({ name: 'site-a', entity: 'client.admin', confFile, options: {} })
    expect(cluster.fsid).toBe(fsid)
    expect([cluster.option('rbd_default_order'), cluster.option('rbd_default_features'), cluster.option('rbd_concurrent_management_ops')]).toEqual(['23', '61', '7'])
    await cluster.monCommand({ prefix: 'config set', who: 'client', name: 'rbd_default_features', value: '1' })
    expect(cluster.option('rbd_default_features')).toBe('1')

    expect((await cluster.monCommand({ prefix: 'osd pool create', pool: 'rbd' })).code).toBe(0)
    const io = await cluster.openPool('rbd')
    await mirror.mirrorModeSet.call(io, 'rbd_mirroring', { mode: 'image' }).catch(() => undefined)
    await mirror.mirrorUuidSet.call(io, 'rbd_mirroring', { uuid: 'here' })
    expect(await mirror.mirrorUuidGet.call(io, 'rbd_mirroring', undefined)).toBe('here')
    const { output } = await cluster.monCommand({ prefix: 'auth get-or-create-key', entity: 'client.peer', caps: ['mon', 'profile rbd-mirror-peer', 'osd', 'profile rbd'] })
    await cluster.close()

    // A peer knows an address and a key.
    const peer = await driver.connect({ name: 'peer', entity: 'client.peer', options: { mon_host: monHost, key: output.toString() } })
    expect((await peer.listPools()).map(({ name }) => name)).toEqual(['rbd'])
    await peer.close()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
