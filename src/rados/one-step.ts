import type { IoCtx, OperationOptions } from './io-ctx.ts'
import { ReadOperation, WriteOperation, type ObjectStat, type OmapPage, type ReadResults } from './operation.ts'

/** What any driver does by an operation of one step. */
export abstract class OneStepOperations implements Pick<IoCtx, 'stat' | 'readData' | 'omapGet' | 'remove'> {
  abstract read(oid: string, operation: ReadOperation, options?: OperationOptions): Promise<ReadResults>
  abstract write(oid: string, operation: WriteOperation, options?: OperationOptions): Promise<bigint>

  async stat(oid: string): Promise<ObjectStat> {
    const operation = new ReadOperation()
    const stat = operation.stat()
    return (await this.read(oid, operation)).get(stat)
  }

  async readData(oid: string, offset: number, length: number, into?: Buffer): Promise<Buffer> {
    const operation = new ReadOperation()
    const data = operation.read(offset, length, into)
    return (await this.read(oid, operation)).get(data)
  }

  async omapGet(oid: string, after: string, prefix: string, max: number): Promise<OmapPage> {
    const operation = new ReadOperation()
    const page = operation.omapGet(after, prefix, max)
    return (await this.read(oid, operation)).get(page)
  }

  async remove(oid: string): Promise<void> {
    await this.write(oid, new WriteOperation().remove())
  }
}
