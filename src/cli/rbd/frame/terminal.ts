import { once } from 'node:events'
import { read, writeSync } from 'node:fs'
import { promisify } from 'node:util'

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

const readDescriptor = promisify(read)

async function readInput(max: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(max)
  let length = 0
  while (length < max) {
    const { bytesRead } = await readDescriptor(0, buffer, length, max - length, null)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return buffer.subarray(0, length)
}
