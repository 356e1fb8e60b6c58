import { randomInt } from 'node:crypto'
import { systemClock } from '../../../base/clock.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { RadosError } from '../../../rados/errors.ts'
import { NO_SNAP } from '../../../rados/io-ctx.ts'
import type { Image } from '../../../rbd/image.ts'
import { ImageWriter } from '../../../rbd/image-writer.ts'
import { readImage } from '../../../rbd/read-image.ts'
import type { Command } from '../frame/command.ts'
import { imageSpec, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { attempt, CommandFailure, invalid } from '../frame/failure.ts'
import { takeImage } from '../frame/specs.ts'
import { openForUse, snapshotContext } from './open.ts'
import { byteText, doubleText, parseBytes, parseCount } from './text.ts'

type IoType = 'read' | 'write' | 'readwrite'
type Pattern = 'rand' | 'seq' | 'full-seq'

const ioTypes: Readonly<Record<string, IoType>> = { read: 'read', write: 'write', readwrite: 'readwrite', rw: 'readwrite' }
const patternTexts: Readonly<Record<Pattern, string>> = { rand: 'random', seq: 'sequential', 'full-seq': 'full sequential' }
/** Seconds that a line's rates are of. */
const window = 5

interface Load {
  type: IoType
  size: number
  threads: number
  total: number
  pattern: Pattern
  /** percent */
  reads: number
}

async function bench(context: CommandContext): Promise<void> {
  const { args } = context
  const type = args.value<IoType>('io-type')
  if (!type) throw invalid('--io-type must be specified.')
  const name = takeImage(context, { snap: type === 'read' ? 'permitted' : 'none' })
  const load: Load = {
    type,
    size: args.value<number>('io-size') ?? 4096,
    threads: args.value<number>('io-threads') ?? 16,
    total: args.value<number>('io-total') ?? 2 ** 30,
    pattern: args.value<Pattern>('io-pattern') ?? 'seq',
    reads: type === 'read' ? 100 : type === 'write' ? 0 : (args.value<number>('rw-mix-read') ?? 50),
  }
  if (load.size === 0) throw invalid('--io-size should be greater than zero.')
  if (load.threads === 0) throw invalid('--io-threads should be greater than zero.')
  if (load.reads > 100) throw invalid('--rw-mix-read should not be larger than 100.')
  const io = await context.openPool(name)
  const image = await openForUse(context, io, { name: name.image })
  const snapshot = snapshotContext(context, image, name.snap)
  const { size } = snapshot ?? image.header
  const refuse = (line: string) => {
    context.complain(line)
    context.terminal.err(`bench failed: ${errnoText(22)}\n`)
    throw new CommandFailure(22)
  }
  if (load.size > size) refuse(`io-size ${byteText(load.size)} larger than image size ${byteText(size)}`)
  if (load.size > 0xffffffff) refuse('io-size should be less than 4G')
  await run(context, image, load, size, snapshot?.id ?? NO_SNAP)
}

/** Where the next accesses of all threads go, round by round. */
class Offsets {
  private readonly chunk: number
  readonly current: number[]

  constructor(
    private readonly load: Load,
    private readonly imageSize: number,
  ) {
    const { size, threads } = load
    this.chunk = Math.floor(imageSize / size / threads) * size
    this.current = Array.from({ length: threads }, (_, thread) => this.start(thread))
  }

  advance(done: number): void {
    const { size, threads, pattern } = this.load
    for (let thread = 0; thread < threads; thread++) {
      if (pattern === 'rand') this.current[thread] = this.start(thread)
      else if (pattern === 'full-seq') {
        this.current[thread]! += size * threads
        if (this.current[thread]! + size > this.imageSize) this.current[thread] = (thread * size) % this.lastStart
      } else {
        this.current[thread] = done < this.chunk * threads ? this.current[thread]! + size : done + thread * size
        if (this.current[thread]! + size > this.imageSize) this.current[thread] = this.start(thread)
      }
    }
  }

  private get lastStart(): number {
    return Math.max(1, this.imageSize - this.load.size + 1)
  }

  private start(thread: number): number {
    const { size, pattern } = this.load
    if (pattern === 'rand') return randomInt(Math.floor(this.imageSize / size)) * size
    return (pattern === 'seq' ? this.chunk * thread : thread * size) % this.lastStart
  }
}

async function run(context: CommandContext, image: Image, load: Load, imageSize: number, snap: bigint): Promise<void> {
  const { type, size, threads, total, pattern, reads } = load
  const mix = type === 'readwrite' ? ` read:write=${reads}:${100 - reads}` : ''
  context.line(`bench  type ${type}${mix} io_size ${size} io_threads ${threads} bytes ${total} pattern ${patternTexts[pattern]}`)
  context.line('  SEC       OPS   OPS/SEC   BYTES/SEC')
  const writer = new ImageWriter(image)
  const data = Buffer.alloc(size, randomInt(256))
  const offsets = new Offsets(load, imageSize)
  const rates = new Rates(context, threads)
  let [issued, bytes, readOps, writeOps] = [0, 0, 0, 0]
  let failing = false
  const worker = async () => {
    while (bytes < total && !failing && !context.signal.aborted) {
      const offset = offsets.current[issued % threads]!
      const reading = randomInt(100) < reads
      issued++
      bytes += size
      if (reading) readOps++
      else writeOps++
      if (issued % threads === 0) offsets.advance(bytes)
      rates.count(size)
      try {
        if (reading) await attemptIo(context, 'read', () => readImage(image, { offset, length: size, snap }))
        else await attemptIo(context, 'write', () => writer.write(offset, data))
      } catch (error) {
        failing = true
        throw error
      }
      rates.show()
    }
  }
  // what the others have under way comes to its end before the image is closed
  const ends = await Promise.allSettled(Array.from({ length: threads }, worker))
  const failed = ends.find((end) => end.status === 'rejected')
  if (failed) throw failed.reason
  if (type !== 'read') await attempt('failed to flush at the end', () => writer.flush())
  const seconds = rates.elapsed
  const rate = (what: string, ops: number) =>
    `${what}ops: ${ops}   ${what}ops/sec: ${doubleText(ops / seconds)}   ${what}bytes/sec: ${byteText(Math.floor((ops * size) / seconds))}/s`
  context.line(`elapsed: ${Math.floor(seconds)}   ${rate('', issued)}`)
  if (type !== 'readwrite') return
  context.line(rate('read_', readOps))
  context.line(rate('write_', writeOps))
}

async function attemptIo(context: CommandContext, what: string, act: () => Promise<unknown>): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.line(`${what} error: ${errnoText(error.errno)}`)
    throw new CommandFailure(error.errno)
  }
}

/** A line for each second, of the last five. */
class Rates {
  private readonly start = systemClock.monotonic()
  private last = 0
  private ios = 0
  private fresh = { ios: 0, bytes: 0 }
  private readonly samples: { seconds: number; ios: number; bytes: number }[] = []

  constructor(
    private readonly context: CommandContext,
    private readonly threads: number,
  ) {}

  get elapsed(): number {
    return (systemClock.monotonic() - this.start) / 1000
  }

  count(bytes: number): void {
    this.ios++
    this.fresh.ios++
    this.fresh.bytes += bytes
  }

  show(): void {
    const { elapsed } = this
    if (Math.floor(elapsed) === Math.floor(this.last)) return
    this.samples.push({ seconds: elapsed - this.last, ...this.fresh })
    if (this.samples.length > window) this.samples.shift()
    this.fresh = { ios: 0, bytes: 0 }
    this.last = elapsed
    const sum = (of: (sample: (typeof this.samples)[number]) => number) => this.samples.reduce((all, sample) => all + of(sample), 0)
    const seconds = sum((sample) => sample.seconds)
    const columns = [String(Math.floor(elapsed)).padStart(5), String(this.ios - this.threads).padStart(10), doubleText(sum((sample) => sample.ios) / seconds).padStart(10)]
    const perSecond = byteText(Math.floor(sum((sample) => sample.bytes) / seconds))
    this.context.line(`${columns.join('')}${perSecond.padStart(10)}/s`)
  }
}

export const benchCommand: Command = {
  path: ['bench'],
  description: 'Simple benchmark.',
  arguments: together(imageSpec(), [
    { name: 'io-size', description: 'IO size (in B/K/M/G/T) [default: 4K]', parse: parseBytes },
    { name: 'io-threads', description: 'ios in flight [default: 16]', parse: parseCount, echoed: true },
    { name: 'io-total', description: 'total size for IO (in B/K/M/G/T) [default: 1G]', parse: parseBytes },
    {
      name: 'io-pattern',
      description: 'IO pattern (rand, seq, or full-seq) [default: seq]',
      parse: (text) => (text in patternTexts ? (text) : undefined),
    },
    { name: 'rw-mix-read', description: 'read proportion in readwrite (<= 100) [default: 50]', parse: parseCount, echoed: true },
    { name: 'io-type', required: true, description: 'IO type (read, write, or readwrite(rw))', parse: (text) => ioTypes[text] },
  ]),
  execute: bench,
}
