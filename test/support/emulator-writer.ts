// Run in processes of its own: appends records to a few objects of an emulated cluster, each with an omap entry in the same operation, until
// its standard input ends; then it prints what was acknowledged.   emulator-writer.ts MON-HOST KEY POOL NAME
import { fileURLToPath } from 'node:url'
import { ReadOperation, WriteOperation } from '../../src/rados/operation.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { emulatorFor } from './emulated.ts'

export const RECORD = 16
export const OBJECTS = ['one', 'two', 'three']
/** Records that each writer has under way. */
const AT_ONCE = 6

export interface Acknowledged {
  /** object, record and the version that its operation got */
  readonly records: (readonly [object: string, record: string, version: number])[]
  readonly failures: string[]
}

export async function writeUntil(io: IoCtx, name: string, over: () => boolean): Promise<Acknowledged> {
  const done: Acknowledged = { records: [], failures: [] }
  let next = 0
  const write = async () => {
    while (!over()) {
      const record = `${name}-${next}`.padEnd(RECORD, '.')
      const object = OBJECTS[next++ % OBJECTS.length]!
      try {
        const operation = new WriteOperation().append(Buffer.from(record)).omapSet(new Map([[record, Buffer.from(object)]]))
        done.records.push([object, record, Number(await io.write(object, operation))])
      } catch (error) {
        done.failures.push(`${record}: ${(error as Error).message} (${String((error as Error).cause)})`)
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, write))
  return done
}

/** The records in an object's data, and those in its omap, both in the order of their names. */
export async function storedRecords(io: IoCtx, object: string): Promise<{ data: string[]; omap: string[] }> {
  const operation = new ReadOperation()
  const data = operation.read(0, 2 ** 24)
  const bytes = (await io.read(object, operation)).get(data)
  const inData = Array.from({ length: bytes.length / RECORD }, (_, index) => bytes.toString('latin1', index * RECORD, (index + 1) * RECORD))
  const omap: string[] = []
  for (let more = true; more; ) {
    const page = await io.omapGet(object, omap.at(-1) ?? '', '', 1000)
    omap.push(...page.entries.keys())
    more = page.more
  }
  return { data: inData.sort(), omap }
}

async function main([monHost = '', key = '', pool = '', name = '']: readonly string[]): Promise<void> {
  const cluster = await emulatorFor(monHost, { key: () => key }).connect({ name, entity: 'client.admin', options: {} })
  const io = await cluster.openPool(pool)
  let over = false
  process.stdin.on('end', () => (over = true)).resume()
  process.stdout.write('ready\n')
  const done = await writeUntil(io, name, () => over)
  await cluster.close()
  process.stdout.write(`${JSON.stringify(done)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2))
