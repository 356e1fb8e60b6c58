import type { AdminCommands } from '../observability/admin-commands.ts'
import { BadQuery } from '../observability/image-filter.ts'
import { imagePage, statusView, type StatusSource } from '../observability/status-view.ts'
import { Errno } from '../rados/errors.ts'
import { AdminCommandError } from './admin-registry.ts'

/** The words behind `rbd mirror overview`, for those who ask the admin socket. */
export const overviewWords = ['rbd', 'mirror', 'overview'] as const

/** What the status page shows, for where there is no HTTP: `query` is what would stand behind the `?` of `/api/images`. */
export function registerStatusCommand(commands: AdminCommands, source: StatusSource): void {
  commands.register({
    words: [...overviewWords, 'name=query,type=CephString,req=false'],
    help: 'what the status page shows; query as in "pool=volumes&health=error&limit=20"',
    run: async (args) => {
      const query = new URLSearchParams(typeof args['query'] === 'string' ? args['query'] : '')
      try {
        return { status: await statusView(source, query), images: await imagePage(source.metrics, query) }
      } catch (error) {
        if (error instanceof BadQuery) throw new AdminCommandError(Errno.EINVAL, error.message)
        throw error
      }
    },
  })
}
