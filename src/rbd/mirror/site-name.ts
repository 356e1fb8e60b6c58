import type { Cluster } from '../../rados/cluster.ts'
import { CONFIG_KEY_SITE_NAME } from '../names.ts'

/** What this cluster calls itself towards its peers: its fsid unless it was named (librbd/api/Mirror.cc, site_name_get). */
export async function getSiteName(cluster: Cluster): Promise<string> {
  return (await cluster.configKeyGet(CONFIG_KEY_SITE_NAME)) || cluster.fsid
}

/** @param name '' for the fsid again */
export async function setSiteName(cluster: Cluster, name: string): Promise<void> {
  if (name === '') await cluster.configKeyRemove(CONFIG_KEY_SITE_NAME)
  else await cluster.configKeySet(CONFIG_KEY_SITE_NAME, name)
}
