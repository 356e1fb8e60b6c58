import { once } from 'node:events'
import { writeSync } from 'node:fs'

/** Where a command's words go and where piped-in data comes from; tests put their own in its place. */
export interface Terminal {
  out(text: string | Uint8Array): void
  err(text: string): void
  /** Up to `max` bytes of standard input; empty at its end. */
  readInput(max: number): Promise<Buffer>
  /** Resolves once what was written so far has been taken: for commands that write much. */
  flush(): Promise<void>
  /** Whether standard input is a person. */
  readonly inputIsTty: boolean
  readonly outputIsTty: boolean
}

export function processTerminal(): Terminal {
  const { stdout, stdin } = process
  let pending = false
  return {
    out(text) {
      if (!stdout.write(text)) pending = true
    },
    err: writeError,
    readInput,
    async flush() {
      if (pending && stdout.writableNeedDrain) await once(stdout, 'drain')
      pending = false
    },
    inputIsTty: stdin.isTTY === true,
    outputIsTty: stdout.isTTY === true,
  }
}

/** Unbuffered, as the C++ tool's, so that the order of progress and messages is kept. */
function writeError(text: string): void {
  try {
    writeSync(2, text)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') process.stderr.write(text)
    else if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
  }
}

/** Standard input as it comes: it may be a pipe that has nothing yet. */
let chunks: AsyncIterator<Buffer> | undefined
let unread: Buffer = Buffer.alloc(0)

async function readInput(max: number): Promise<Buffer> {
  chunks ??= process.stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  const parts: Buffer[] = []
  let length = 0
  while (length < max) {
    if (unread.length === 0) {
      const next = await chunks.next()
      if (next.done) break
      unread = next.value
    }
    const part = unread.subarray(0, max - length)
    unread = unread.subarray(part.length)
    parts.push(part)
    length += part.length
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}
