import { existsSync, mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { ConfigError } from '../../config/config-error.ts'
import { confSearchPath, findConfFile, readConfFile } from '../../config/search-path.ts'
import { createCluster } from '../cluster/create-cluster.ts'
import type { Commands } from './commands.ts'

export const POOL = 'data'
export const JOURNAL_IMAGE = `${POOL}/journal-image`
export const SNAPSHOT_IMAGE = `${POOL}/snapshot-image`

/** The two clusters of the quick start: their names, and where everything lies. */
export interface Sites {
  /** holds the primary images at first */
  a: string
  b: string
  dataFolder: string
  /** `redis://host:port`, without a database: the clusters lie in databases 0 and 1; undefined: in folders */
  redis: string | undefined
}

/** The user that the daemon of a site runs as. */
export const daemonUser = (site: string): string => `rbd-mirror.${site}`

/**
 * What an operator would do, once: clusters, a pool on each, peers, an image of each mode. Done again it does nothing.
 * @throws ConfigError when a configuration file of one of the names, from elsewhere, would be found first, or a command fails
 */
export async function setUp(sites: Sites, commands: Commands): Promise<'made' | 'there'> {
  const { a, b, dataFolder, redis } = sites
  const confs = [a, b].map((site) => resolve(`${site}.conf`))
  for (const [index, site] of [a, b].entries()) checkConf(site, confs[index]!)
  const there = confs.filter((conf) => existsSync(conf))
  if (there.length === 2) return 'there'
  if (there.length === 1) throw new ConfigError(`only one of the two clusters is there: remove ${there[0]} and ${dataFolder} to begin anew, or choose other names with --sites`)
  mkdirSync(dataFolder, { recursive: true })
  for (const [index, name] of [a, b].entries()) {
    const monHost = redis === undefined ? undefined : `${redis.replace(/\/+$/, '')}/${index}`
    commands.show(`rbd-mirror cluster create ${name}${monHost === undefined ? '' : ` --mon-host ${monHost}`}`)
    await createCluster({ name, monHost, confFolder: '.', dataFolder })
  }
  for (const site of [a, b]) {
    await commands.cluster('pool', 'create', POOL, '--cluster', site)
    await commands.rbd('--cluster', site, 'pool', 'init', POOL)
    await commands.cluster('user', 'create', `client.${daemonUser(site)}`, '--cluster', site, '--data-dir', dataFolder)
    await commands.rbd('--cluster', site, 'mirror', 'pool', 'enable', POOL, 'image')
  }
  const token = resolve(dataFolder, 'token')
  await commands.rbdTo(token, '--cluster', a, 'mirror', 'pool', 'peer', 'bootstrap', 'create', '--site-name', a, POOL)
  await commands.rbd('--cluster', b, 'mirror', 'pool', 'peer', 'bootstrap', 'import', '--site-name', b, POOL, token)
  commands.removeFile(token)
  await commands.rbd('--cluster', a, 'create', JOURNAL_IMAGE, '--size', '64M', '--image-feature', 'exclusive-lock,journaling')
  await commands.rbd('--cluster', a, 'create', SNAPSHOT_IMAGE, '--size', '64M')
  await commands.rbd('--cluster', a, 'mirror', 'image', 'enable', JOURNAL_IMAGE, 'journal')
  await commands.rbd('--cluster', a, 'mirror', 'image', 'enable', SNAPSHOT_IMAGE, 'snapshot')
  for (const site of [a, b]) await commands.rbd('--cluster', site, 'mirror', 'snapshot', 'schedule', 'add', '--pool', POOL, '1m')
  return 'made'
}

function checkConf(site: string, ours: string): void {
  const found = findConfFile(confSearchPath(site))
  if (found !== undefined && found !== ours) {
    throw new ConfigError(`cluster ${site} is configured already: choose other names with --sites NAME,NAME`, found)
  }
  if (found === undefined) return
  const monHost = readConfFile(found).find(['global'], 'mon_host')?.value ?? ''
  if (!/^(file|rediss?):/.test(monHost.trim())) throw new ConfigError('this is a cluster of Ceph: choose other names with --sites NAME,NAME', found)
}
