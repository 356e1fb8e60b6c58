import type { Cluster } from '../../src/rados/cluster.ts'
import { decode, encode } from '../../src/encoding/codec.ts'
import { Errno, RadosError } from '../../src/rados/errors.ts'
import type { IoCtx, Watch } from '../../src/rados/io-ctx.ts'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'

/* Runs the same calls of object-class methods on two clusters and compares what they answer and what they leave behind. */

/** A method of a client.ts, whatever its types. */
export interface AnyMethod {
  readonly definition: { readonly cls: string; readonly name: string; readonly input: unknown; readonly output?: unknown }
}

/** One of the two clusters: the pool on each of two connections, and how the instance ids are told in comparable form. */
export class Side {
  private readonly watches = new Map<string, Watch>()

  private constructor(
    readonly name: string,
    private readonly clusters: readonly Cluster[],
    readonly pools: readonly IoCtx[],
  ) {}

  static async open(name: string, pool: string, clusters: readonly Cluster[]): Promise<Side> {
    return new Side(name, clusters, await Promise.all(clusters.map((cluster) => cluster.openPool(pool))))
  }

  /** Instance id of a connection. */
  instance(client: number): bigint {
    return this.clusters[client]!.instanceId
  }

  /** The number of the connection with this instance id; other ids are as they are. */
  clientOf(instance: bigint): bigint {
    const client = this.clusters.findIndex((cluster) => cluster.instanceId === instance)
    return client < 0 ? instance : BigInt(client)
  }

  async watch(client: number, oid: string, on: boolean): Promise<void> {
    const key = `${client} ${oid}`
    const watch = this.watches.get(key)
    if (on === (watch !== undefined)) return
    this.watches.delete(key)
    if (watch) await watch.close()
    else this.watches.set(key, await this.pools[client]!.watch(oid, { onNotify: (notification) => notification.ack(), onError() {} }))
  }

  async close(): Promise<void> {
    for (const watch of this.watches.values()) await watch.close()
    for (const pool of this.pools) pool.close()
    for (const cluster of this.clusters) await cluster.close()
  }
}

export interface Call {
  readonly method: AnyMethod
  /** Which part of an encoded input is sent: all of it, or the first so many bytes. */
  readonly cut?: number
  /** The arguments, which may tell of the side's clients. */
  readonly args: (side: Side) => unknown
  /** Takes out of an answer what can't be equal. */
  readonly mask?: (answer: never, side: Side) => unknown
}

export type Step =
  /** one call that may answer */
  | { readonly type: 'exec'; readonly client: number; readonly call: Call }
  /** calls in one write operation */
  | { readonly type: 'write'; readonly client: number; readonly create: boolean; readonly calls: readonly Call[] }
  | { readonly type: 'watch'; readonly client: number; readonly on: boolean }
  | { readonly type: 'prepare'; readonly run: (io: IoCtx, oid: string) => Promise<unknown> }

/** What is comparable of what an object holds. */
export type MaskValue = (key: string, value: Buffer, side: Side) => readonly [key: string, value: Buffer]

export function inputOf({ method, cut, args }: Call, side: Side): Buffer {
  const input = encode(method.definition.input as never, args(side) as never)
  return cut === undefined ? input : input.subarray(0, cut)
}

const methodName = ({ method }: Call) => `${method.definition.cls}.${method.definition.name}`

export function describeStep(step: Step, side: Side): string {
  if (step.type === 'prepare') return 'prepare'
  if (step.type === 'watch') return `${step.on ? 'watch' : 'unwatch'} as client ${step.client}`
  const calls = step.type === 'exec' ? [step.call] : step.calls
  const said = calls.map((call) => `${methodName(call)}(${inputOf(call, side).toString('hex')}) = ${inspect(call.args(side))}`)
  return `${step.type} as client ${step.client}${step.type === 'write' && step.create ? ' with create' : ''}: ${said.join(' + ')}`
}

function inspect(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'bigint' ? `${part}n` : part instanceof Map ? [...(part as Map<unknown, unknown>)] : part instanceof Set ? [...(part as Set<unknown>)] : part,
  )
}

async function errnoOr(run: Promise<string>): Promise<string> {
  try {
    return await run
  } catch (error) {
    if (error instanceof RadosError) return error.code
    throw error
  }
}

/** `E…`, or the answer in hexadecimal. */
function outcome(step: Step, side: Side, oid: string): Promise<string> {
  switch (step.type) {
    case 'exec':
      return errnoOr(execute(step.call, side, step.client, oid))
    case 'write': {
      const operation = new WriteOperation()
      if (step.create) operation.create(false)
      for (const call of step.calls) operation.exec(call.method.definition.cls, call.method.definition.name, inputOf(call, side))
      return errnoOr(side.pools[step.client]!.write(oid, operation).then(() => 'written'))
    }
    case 'watch':
      return errnoOr(side.watch(step.client, oid, step.on).then(() => 'done'))
    case 'prepare':
      return errnoOr(step.run(side.pools[0]!, oid).then(() => 'done'))
  }
}

async function execute(call: Call, side: Side, client: number, oid: string): Promise<string> {
  const { cls, name, output } = call.method.definition
  const answer = await side.pools[client]!.exec(oid, cls, name, inputOf(call, side))
  if (!call.mask || output === undefined) return answer.toString('hex')
  return encode(output as never, call.mask(decode(output as never, answer, `answer of ${cls}.${name}`), side) as never).toString('hex')
}

/** All that the object holds, `KEY: HEX` a line, masked; ENOENT for none. */
function dump(side: Side, client: number, oid: string, mask: MaskValue): Promise<string> {
  return errnoOr(
    (async () => {
      const operation = new ReadOperation()
      const stat = operation.stat()
      const data = operation.read(0, 1 << 20)
      const xattrs = operation.getXattrs()
      const omap = operation.omapGet('', '', 1024)
      const results = await side.pools[client]!.read(oid, operation)
      const lines = (kind: string, entries: Iterable<readonly [string, Buffer]>) =>
        [...entries].map(([key, value]) => mask(key, value, side)).map(([key, value]) => `${kind} ${JSON.stringify(key)}: ${value.toString('hex')}`)
      return [
        `size ${results.get(stat).size}`,
        `data ${results.get(data).toString('hex')}`,
        ...lines('xattr', results.get(xattrs)).sort(),
        ...lines('omap', results.get(omap).entries).sort(),
      ].join('\n')
    })(),
  )
}

/** Of a message about a difference. */
const MAX_LINE = 2000
/** Steps that are asked for before the first one has answered. */
const MAX_AHEAD = 32

interface SideResult {
  readonly outcome: string
  /** what the object holds afterwards */
  readonly dump: string
}

export class Comparison {
  /** Methods, and how often they succeeded and failed. */
  readonly counts = new Map<string, { succeeded: number; failed: number }>()

  constructor(
    readonly real: Side,
    readonly emulated: Side,
  ) {}

  /** Runs the steps on a new object on both sides. @throws Error that tells all steps up to the first difference */
  async run(title: string, oid: string, steps: Iterable<Step>, mask: MaskValue = (key, value) => [key, value]): Promise<void> {
    const done: [Step, string][] = []
    let ahead: { step: Step; sides: Promise<SideResult[]> }[] = []
    let client: number | undefined
    const catchUp = async () => {
      const results = await Promise.all(ahead.map(({ sides }) => sides))
      for (const [index, { step }] of ahead.entries()) {
        const [real, emulated] = results[index]!
        this.count(step, real!.outcome)
        done.push([step, real!.outcome])
        if (real!.outcome !== emulated!.outcome || real!.dump !== emulated!.dump) throw new Error(this.difference(title, done, real!, emulated!))
      }
      ahead = []
    }
    for (const step of steps) {
      // both sides keep the order of what one client asks of one object
      const by = step.type === 'exec' || step.type === 'write' ? step.client : undefined
      if (by === undefined || by !== client || ahead.length >= MAX_AHEAD) await catchUp()
      client = by
      const onSide = async (side: Side): Promise<SideResult> => {
        const [outcomeHere, dumpHere] = await Promise.all([outcome(step, side, oid), by !== undefined && dump(side, by, oid, mask)])
        return { outcome: outcomeHere, dump: dumpHere === false ? await dump(side, 0, oid, mask) : dumpHere }
      }
      ahead.push({ step, sides: Promise.all([onSide(this.real), onSide(this.emulated)]) })
    }
    await catchUp()
  }

  private difference(title: string, done: readonly [Step, string][], real: SideResult, emulated: SideResult): string {
    const differing = (one: string, other: string) => one.split('\n').filter((line) => !other.split('\n').includes(line))
    return [
      `${title}: the emulator differs after`,
      ...done.map(([step, result]) => `  ${describeStep(step, this.emulated)} → ${result}`),
      `real answers ${real.outcome}, emulated ${emulated.outcome}`,
      ...differing(real.dump, emulated.dump).map((line) => `  only real: ${line}`),
      ...differing(emulated.dump, real.dump).map((line) => `  only emulated: ${line}`),
    ]
      .map((line) => line.slice(0, MAX_LINE))
      .join('\n')
  }

  private count(step: Step, result: string): void {
    if (step.type === 'watch' || step.type === 'prepare') return
    const failed = Object.hasOwn(Errno, result) || result.startsWith('errno')
    for (const call of step.type === 'exec' ? [step.call] : step.calls) {
      const count = this.counts.get(methodName(call)) ?? { succeeded: 0, failed: 0 }
      if (failed) count.failed++
      else count.succeeded++
      this.counts.set(methodName(call), count)
    }
  }
}

/** Random choices that a seed repeats. */
export class Choices {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** mulberry32 */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** 0 … `below` - 1 */
  int(below: number): number {
    return Math.floor(this.next() * below)
  }

  pick<T>(values: readonly T[]): T {
    return values[this.int(values.length)]!
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  some<T>(values: readonly T[]): T[] {
    return values.filter(() => this.chance(0.5))
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.int(256)))
  }
}
