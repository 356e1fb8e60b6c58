import { Semaphore } from '../base/semaphore.ts'
import type { AdminArguments, AdminCommands } from '../observability/admin-commands.ts'
import { Errno } from '../rados/errors.ts'
import { AdminCommandError } from './admin-registry.ts'
import { MAX_SOCKET_PATH_BYTES } from './admin-socket.ts'
import { askAdminSocket } from './ask-admin-socket.ts'

/** librados answers from memory; one that hangs must not keep our own socket from answering. */
const ANSWER_MS = 2_000
/** librados lets five wait to be served (common/admin_socket.cc) and turns away who comes after them. */
const AT_ONCE = 4

/** By name of a section: what the library knows of itself. */
export type Sections = Record<string, Record<string, unknown>>

/**
 * What only the library that connects us to Ceph knows: its requests under way, its memory, its messengers' counters. It has an admin socket of its
 * own, beside ours and for nobody else, and is asked there. A new connection to the local cluster gets a new one.
 */
export class LibrarySocket {
  private readonly places = new Semaphore(AT_ONCE)
  private connections = 0
  private newest: string | undefined

  /** @param path our own admin socket's; undefined: there is none */
  constructor(private readonly path: string | undefined) {}

  /** Where the next connection's socket is to be; undefined when there can be none. */
  next(): string | undefined {
    const path = this.path === undefined ? undefined : `${this.path}.librados${++this.connections}`
    this.newest = path !== undefined && Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES ? path : undefined
    return this.newest
  }

  /** Rejects with AdminCommandError while there is no connection, or it does not answer. */
  async ask(prefix: string, args: AdminArguments = {}): Promise<Record<string, unknown>> {
    if (this.newest === undefined) throw new AdminCommandError(Errno.ENOTCONN, 'there is no connection to the local cluster')
    const path = this.newest
    let answer
    try {
      const asking = () => askAdminSocket(path, prefix, { ...args, format: 'json' }, ANSWER_MS)
      answer = await this.places.run(1, asking, AbortSignal.timeout(ANSWER_MS))
    } catch (error) {
      throw new AdminCommandError(Errno.ENOTCONN, `librados does not answer: ${error instanceof Error ? error.message : String(error)}`)
    }
    if (answer.startsWith('ERROR:')) throw new AdminCommandError(Errno.EINVAL, answer.trim())
    return JSON.parse(answer) as Record<string, unknown>
  }

  /** Sections of `perf …`; none while librados does not answer: ours are told all the same. */
  async sections(prefix: string, args?: AdminArguments): Promise<Sections> {
    try {
      return (await this.ask(prefix, args)) as Sections
    } catch (error) {
      if (error instanceof AdminCommandError) return {}
      throw error
    }
  }
}

/** Commands that librados answers for us. */
export function registerLibraryCommands(commands: AdminCommands, library: LibrarySocket): void {
  commands.register({ words: ['dump_mempools'], help: 'get mempool stats', run: () => library.ask('dump_mempools') })
  commands.register({ words: ['objecter_requests'], help: 'show in-progress osd requests', run: () => library.ask('objecter_requests') })
}
