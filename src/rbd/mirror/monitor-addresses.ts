import type { Cluster } from '../../rados/cluster.ts'

interface MonitorDump {
  mons?: { public_addrs?: { addrvec?: { type: string; addr: string; nonce: number }[] } }[]
}

/** The monitors as `mon_host` would name them: `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],…`; undefined when they don't say. */
export async function monitorAddresses(cluster: Cluster): Promise<string | undefined> {
  const { code, output } = await cluster.monCommand({ prefix: 'mon dump', format: 'json' })
  if (code !== 0) return undefined
  let dump: MonitorDump
  try {
    dump = JSON.parse(output.toString()) as MonitorDump
  } catch {
    return undefined // no JSON
  }
  const monitors = (dump.mons ?? []).map(({ public_addrs }) => (public_addrs?.addrvec ?? []).map(({ type, addr, nonce }) => `${type}:${addr}/${nonce}`))
  const named = monitors.filter((addresses) => addresses.length > 0).map((addresses) => (addresses.length === 1 ? addresses[0]! : `[${addresses.join(',')}]`))
  return named.length === 0 ? undefined : named.join(',')
}
