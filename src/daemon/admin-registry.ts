import type { AdminArguments, AdminCommand, AdminCommands } from '../observability/admin-commands.ts'
import { isCancelled } from '../base/cancelled.ts'
import { Errno, RadosError } from '../rados/errors.ts'
import { formatJson } from './ceph-json.ts'

/** A command's refusal, with the errno that Ceph's tools show. */
export class AdminCommandError extends Error {
  constructor(
    readonly errno: number,
    message: string,
  ) {
    super(message)
    this.name = 'AdminCommandError'
  }
}

const errnoTexts: Record<number, string> = {
  [Errno.EPERM]: 'Operation not permitted',
  [Errno.ENOENT]: 'No such file or directory',
  [Errno.EIO]: 'Input/output error',
  [Errno.EBUSY]: 'Device or resource busy',
  [Errno.EEXIST]: 'File exists',
  [Errno.EINVAL]: 'Invalid argument',
  [Errno.ENOSYS]: 'Function not implemented',
  [Errno.ENOTCONN]: 'Transport endpoint is not connected',
  [Errno.ETIMEDOUT]: 'Connection timed out',
  [Errno.ECANCELED]: 'Operation canceled',
}

const argumentPattern = /^name=[^,\s]+,type=/

/** One command's place in the list: its literal words are its prefix. */
function prefixOf(words: readonly string[]): string {
  return words.filter((word) => !argumentPattern.test(word)).join(' ')
}

/** `name=var,type=CephString,req=false` as the object that Ceph's argument parser wants. */
function describe(word: string): string | Record<string, string> {
  if (!argumentPattern.test(word)) return word
  return Object.fromEntries(word.split(',').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]))
}

/** The commands that the admin socket offers just now, and how a request finds its command (common/admin_socket.cc). */
export class AdminRegistry implements AdminCommands {
  /** By words. The newest registration answers; those below it come back when it goes (an image and its successor of the same name). */
  private readonly commands = new Map<string, { prefix: string; registered: AdminCommand[] }>()

  register(command: AdminCommand): () => void {
    const key = command.words.join(' ')
    const entry = this.commands.get(key) ?? { prefix: prefixOf(command.words), registered: [] }
    this.commands.set(key, entry)
    entry.registered.push(command)
    return () => {
      const index = entry.registered.indexOf(command)
      if (index < 0) return
      entry.registered.splice(index, 1)
      if (entry.registered.length === 0) this.commands.delete(key)
    }
  }

  /** By prefix, with their help; commands without help are left out. */
  help(): Record<string, string> {
    return Object.fromEntries(this.sorted().flatMap(({ words, help }) => (help === '' ? [] : [[prefixOf(words), help]])))
  }

  /** What `get_command_descriptions` answers, for the client's own check of its words. */
  descriptions(): Record<string, { sig: unknown[]; help: string }> {
    return Object.fromEntries(
      this.sorted().map(({ words, help }, index) => [`cmd${String(index).padStart(3, '0')}`, { sig: words.map(describe), help }]),
    )
  }

  /** Answers one request, a JSON object with the command's words as `prefix`. Never rejects: failures are part of the answer. */
  async execute(request: string): Promise<string> {
    let args: AdminArguments
    try {
      args = JSON.parse(request) as AdminArguments
    } catch {
      return failure(Errno.EINVAL, 'invalid json')
    }
    if (typeof args !== 'object' || args === null || Array.isArray(args)) return failure(Errno.EINVAL, 'invalid json')
    const { prefix, format = 'json-pretty' } = args
    if (typeof prefix !== 'string' || typeof format !== 'string') {
      return failure(Errno.EINVAL, 'invalid json, missing format and/or prefix')
    }
    const command = this.find(prefix, args)
    if (!command) return failure(Errno.EINVAL, `unknown command prefix ${prefix}`)
    try {
      const answer = await command.run(args)
      if (answer === undefined) return ''
      if (typeof answer === 'string') return answer
      return format === 'json' ? formatJson(answer, 'compact') : `${formatJson(answer, 'pretty')}\n`
    } catch (error) {
      if (error instanceof AdminCommandError || error instanceof RadosError) return failure(error.errno, error.message)
      if (isCancelled(error)) return failure(Errno.ECANCELED, 'the daemon is stopping, or what the command was for is gone')
      return failure(Errno.EIO, error instanceof Error ? error.message : String(error))
    }
  }

  /** The command with this prefix that takes the arguments given, the one with most arguments first. */
  private find(prefix: string, args: AdminArguments): AdminCommand | undefined {
    const matching: AdminCommand[] = []
    for (const { prefix: candidate, registered } of this.commands.values()) if (candidate === prefix) matching.push(registered.at(-1)!)
    matching.sort((a, b) => b.words.length - a.words.length)
    return matching.find(({ words }) =>
      words.every((word) => {
        const argument = describe(word)
        return typeof argument === 'string' || argument['req'] === 'false' || args[argument['name']!] !== undefined
      }),
    )
  }

  private sorted(): AdminCommand[] {
    return [...this.commands].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { registered }]) => registered.at(-1)!)
  }
}

function failure(errno: number, message: string): string {
  return `ERROR: (${errno}) ${errnoTexts[errno] ?? `errno ${errno}`}\n${message}\n`
}
