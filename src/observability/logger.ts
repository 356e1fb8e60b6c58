import { pino, type Logger as Pino } from 'pino'
import type { Log } from '../base/log.ts'
import { RadosError } from '../rados/errors.ts'
import { LogFile } from './log-file.ts'
import { redact } from './redact.ts'

export type LogLevel = 'info' | 'debug' | 'trace'

/** Levels of `--debug-rbd-mirror=N[/M]`: what Ceph prints at 0 to 4 is for operators, from 5 on for developers. */
export function logLevelOf(debugRbdMirror: string): LogLevel {
  const level = Number.parseInt(debugRbdMirror, 10)
  return level >= 20 ? 'trace' : level >= 5 ? 'debug' : 'info'
}

export interface LogTarget {
  /** JSON lines go to this file; undefined for none */
  file?: string | undefined
  /** 'all': every line in readable form; 'errors': lines of level error and worse; 'none' */
  stderr: 'all' | 'errors' | 'none'
  level: LogLevel
  /** The name of an image that lines speak of by its global id. */
  imageName?: (globalImageId: string) => string | undefined
}

const errorLevel = 50

/** The daemon's log: pino, JSON lines in a file that survives logrotate, readable lines on a terminal. */
export class Logger {
  readonly log: Log
  private readonly pino: Pino
  private stderr: LogTarget['stderr']

  private constructor(
    target: LogTarget,
    private readonly file: LogFile | undefined,
    pretty: ((line: string) => string | undefined) | undefined,
  ) {
    this.stderr = target.stderr
    const toStderr = (line: string, level: number) => {
      if (this.stderr === 'all' || (this.stderr === 'errors' && level >= errorLevel)) process.stderr.write(pretty?.(line) ?? line)
    }
    // pino sets lastLevel before each write of a stream that carries this symbol.
    const stream = {
      [Symbol.for('pino.metadata')]: true,
      lastLevel: 0,
      write(line: string): void {
        const clean = redact(withImageName(line, target.imageName))
        file?.write(clean)
        toStderr(clean, this.lastLevel)
      },
    }
    this.pino = pino(
      {
        level: target.level,
        base: { pid: process.pid },
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { err: serializeError, error: serializeError },
        redact: { paths: ['key', 'secret', 'password', '*.key', '*.secret', '*.password'], censor: '[redacted]' },
      },
      stream,
    )
    this.log = this.pino
  }

  /** Throws the system's error (EACCES, ENOENT …) when the file can't be opened. */
  static async open(target: LogTarget): Promise<Logger> {
    const file = target.file === undefined ? undefined : new LogFile(target.file)
    return new Logger(target, file, target.stderr === 'none' ? undefined : await prettyPrinter(target.stderr))
  }

  setLevel(level: LogLevel): void {
    this.pino.level = level
  }

  /** The lines go to the file alone from here on. */
  muteStderr(): void {
    this.stderr = 'none'
  }

  /** After logrotate has moved the file away: the next line goes to a new one. Throws when it can't be opened; the old one stays. */
  reopen(): void {
    this.file?.reopen()
  }
}

const globalIdKey = '"globalImageId":"'

/**
 * Adds `image` behind the `globalImageId` of a line. A child logger can't have the name: it is known later than the id, and changes.
 */
function withImageName(line: string, imageName: LogTarget['imageName']): string {
  const at = imageName ? line.indexOf(globalIdKey) : -1
  if (at < 0) return line
  const from = at + globalIdKey.length
  const to = line.indexOf('"', from)
  const name = imageName!(line.slice(from, to))
  return name === undefined ? line : `${line.slice(0, to + 1)},"image":${JSON.stringify(name)}${line.slice(to + 1)}`
}

async function prettyPrinter(stderr: 'all' | 'errors'): Promise<((line: string) => string | undefined) | undefined> {
  if (stderr === 'errors') return shortLine
  const { prettyFactory } = await import('pino-pretty')
  return prettyFactory({
    colorize: process.stderr.isTTY,
    translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l',
    ignore: 'pid',
    singleLine: true,
    errorLikeObjectKeys: [],
  })
}

function shortLine(line: string): string {
  const { msg, error, err, pool, image } = JSON.parse(line) as Record<string, unknown>
  const cause = (error ?? err) as { message?: string } | undefined
  const place = [pool, image].filter((part) => typeof part === 'string').join('/')
  return `rbd-mirror: ${place === '' ? '' : `${place}: `}${String(msg)}${cause?.message === undefined ? '' : `: ${cause.message}`}\n`
}

/** An error's message and causes; its stack only where it is a bug of ours that is to be found. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const cause = error.cause === undefined ? {} : { cause: serializeError(error.cause) }
  if (error instanceof RadosError) return { message: error.message, code: error.code, ...cause }
  return { type: error.name, message: error.message, ...cause, stack: error.stack }
}
