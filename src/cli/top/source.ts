import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ConfigError } from '../../config/config-error.ts'
import type { Options } from '../../config/options.ts'
import { overviewWords } from '../../daemon/status-command.ts'
import type { ImagePage, StatusView } from '../../observability/status-view.ts'
import { askAdminSocket } from '../admin-client.ts'

export interface Overview {
  status: StatusView
  images: ImagePage
}

/** Asks one daemon; rejects with a text for the operator. */
export type Look = (query: URLSearchParams) => Promise<Overview>

const HTTP_TIMEOUT_MS = 10_000

export function lookByHttp(base: string): Look {
  let url: URL
  try {
    url = new URL(base)
  } catch {
    throw new ConfigError(`--url is no address: "${base}"; it is as in http://127.0.0.1:9927`)
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new ConfigError(`--url is to begin with http:// or https://: "${base}"`)
  const get = async <T>(path: string, query: URLSearchParams): Promise<T> => {
    const answer = await fetch(new URL(`${path}?${query.toString()}`, url), { signal: AbortSignal.timeout(HTTP_TIMEOUT_MS) }).catch((error: Error) => {
      throw new ConfigError(`no daemon answers at ${url.origin}: ${(error.cause as NodeJS.ErrnoException | undefined)?.code ?? error.message}`)
    })
    if (!answer.ok) throw new ConfigError(`${url.origin}${path}: ${answer.status} ${(await answer.text()).trim()}`)
    return (await answer.json()) as T
  }
  return async (query) => {
    const [status, images] = await Promise.all([get<StatusView>('/api/status', query), get<ImagePage>('/api/images', query)])
    return { status, images }
  }
}

export function lookByAdminSocket(path: string): Look {
  return async (query) => {
    let text: string
    try {
      text = await askAdminSocket(path, { prefix: overviewWords.join(' '), format: 'json', query: query.toString() })
    } catch (error) {
      throw new ConfigError(`no daemon answers at ${path}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`)
    }
    if (text.startsWith('ERROR')) throw new ConfigError(`${path}: ${text.split('\n')[1] || text.trim()}${/unknown command/.test(text) ? ': is that another daemon?' : ''}`)
    return JSON.parse(text) as Overview
  }
}

/** Where the daemon of this configuration is to be found: at its port, else at its admin socket, whose name has its process id. */
export function lookByConfiguration(options: Options): Look {
  const port = options.get('rbd_mirror_metrics_port')
  const address = options.get('rbd_mirror_metrics_address')
  const host = ['0.0.0.0', '::'].includes(address) ? '127.0.0.1' : address.includes(':') ? `[${address}]` : address
  const ours = ({ status }: Overview) => status.daemon.cluster === options.cluster
  return async (query) => {
    const problems: string[] = []
    if (port !== 0) {
      try {
        const overview = await lookByHttp(`http://${host}:${port}`)(query)
        if (ours(overview)) return overview
        problems.push(`at ${host}:${port} is the daemon of cluster ${overview.status.daemon.cluster}`)
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        problems.push(error.message)
      }
    }
    for (const path of adminSockets(options)) {
      try {
        return await lookByAdminSocket(path)(query)
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        problems.push(error.message)
      }
    }
    throw new ConfigError(`found no daemon of cluster ${options.cluster}: ${problems.join('; ')}; name it with --url or --admin-socket`)
  }
}

/** Sockets that a daemon with this configuration may have. */
export function adminSockets(options: Options): string[] {
  const path = options.get('admin_socket')
  if (options.source('admin_socket') !== 'default' && !path.includes(String(options.pid))) return path === '' ? [] : [path]
  const folder = dirname(path)
  try {
    return readdirSync(folder)
      .filter((name) => name.startsWith(`${options.cluster}-client.`) && name.endsWith('.asok'))
      .map((name) => join(folder, name))
  } catch {
    return []
  }
}
