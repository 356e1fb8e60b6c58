// A process of the test beside it: appends to one object and counts up another, until it is killed.
import { WriteOperation } from '../../src/rados/operation.ts'
import { emulatorFor } from '../support/emulated.ts'

const [monHost, key, name, rounds] = process.argv.slice(2) as [string, string, string, string]
const cluster = await emulatorFor(monHost, { key: () => key }).connect({ name, entity: 'client.admin', options: {} })
const io = await cluster.openPool('shared')
process.stdout.write('ready\n')
for (let round = 0; round < Number(rounds); round++) {
  const record = Buffer.alloc(64, name)
  // One operation: a record at the end of the data, the same in the omap, and nothing of it without the other.
  await io.write('log', new WriteOperation().append(record).omapSet(new Map([[`${name}-${process.pid}-${round}`, record]])))
  for (;;) {
    const before = await io.readData('counter', 0, 20)
    const count = Number(before.toString() || '0')
    try {
      await io.write('counter', new WriteOperation().cmpext(0, before).writeFull(Buffer.from(String(count + 1).padStart(10, '0'))))
      break
    } catch (error) {
      if (((error as { errno?: number }).errno ?? 0) < 4095) throw error
    }
  }
  process.stdout.write(`${round}\n`)
}
await cluster.close()
