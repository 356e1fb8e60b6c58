import { open, type FileHandle } from 'node:fs/promises'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import { DiffRefused } from '../../../rbd/diff/apply-diff.ts'
import { UnreadableFile } from '../../../rbd/diff/format.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure } from '../frame/failure.ts'

/** What is imported: a file, or standard input. */
export interface Source {
  /** bytes; undefined where only its end will tell */
  size: number | undefined
  directory: boolean
  /** The next bytes, fewer than asked for at the end only. */
  read(length: number): Promise<Buffer>
  close(): Promise<void>
}

/** Rejects as the file system does. */
export function openSource(context: CommandContext, path: string): Promise<Source> {
  return path === '-' ? Promise.resolve(input(context)) : openFile(context, path)
}

/** Says what of a step has failed, and passes the failure on. */
export async function told<T>(context: CommandContext, line: string | ((errno: number) => string), act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    tellFile(context, error)
    context.complain(typeof line === 'string' ? line : line(errnoOf(error)))
    throw error
  }
}

/** What is wrong with a file is said once, by who comes across it first. */
const toldOf = new WeakSet<Error>()

function tellFile({ terminal }: CommandContext, error: unknown): void {
  if (!(error instanceof UnreadableFile || error instanceof DiffRefused) || toldOf.has(error)) return
  toldOf.add(error)
  terminal.err(error instanceof UnreadableFile ? `rbd: ${error.line}\n` : `${error.message}\n`)
}

/**
 * The command's end. Rethrows what is no failure of an import.
 *
 * @param instead errnos that stand for others
 */
export function importFailure(context: CommandContext, error: unknown, what: string, instead: Readonly<Record<number, number>> = {}): CommandFailure {
  tellFile(context, error)
  const found = errnoOf(error)
  const errno = instead[found] ?? found
  return new CommandFailure(errno, `${what}: ${errnoText(errno)}`, { cause: error })
}

function errnoOf(error: unknown): number {
  if (error instanceof RadosError || error instanceof UnreadableFile || error instanceof DiffRefused) return error.errno
  if (error instanceof CommandFailure) return error.status
  const { errno } = error as NodeJS.ErrnoException
  if (typeof errno === 'number') return Math.abs(errno)
  throw error
}

function input({ terminal }: CommandContext): Source {
  return { size: undefined, directory: false, read: (length) => terminal.readInput(length), close: () => Promise.resolve() }
}

async function openFile(context: CommandContext, path: string): Promise<Source> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    context.complain(`error opening ${path}`)
    throw error
  }
  const stat = await file.stat()
  return {
    // a device does not tell
    size: stat.isFile() ? stat.size : undefined,
    directory: stat.isDirectory(),
    async read(length) {
      const buffer = Buffer.allocUnsafe(length)
      let have = 0
      while (have < length) {
        const { bytesRead } = await file.read(buffer, have, length - have)
        if (bytesRead === 0) break
        have += bytesRead
      }
      return buffer.subarray(0, have)
    },
    close: () => file.close(),
  }
}
