import { decode, encode, type Codec } from '../encoding/codec.ts'
import type { IoCtx, OperationOptions } from '../rados/io-ctx.ts'
import type { ReadHandle, ReadOperation, ReadResults, WriteOperation } from '../rados/operation.ts'
import { ReadOperation as NewReadOperation, WriteOperation as NewWriteOperation } from '../rados/operation.ts'

/** How a class method is called: its class, its name, and what its input and output are. */
export interface MethodDefinition<I, O> {
  cls: string
  name: string
  input: Codec<I>
  output: Codec<O>
}

/** An object-class method that only reads. Rejects with RadosError, or MalformedInput for an answer that can't be read. */
export class ReadMethod<I, O> {
  constructor(readonly definition: MethodDefinition<I, O>) {}

  async call(io: IoCtx, oid: string, args: I, options?: OperationOptions): Promise<O> {
    const operation = new NewReadOperation()
    const handle = this.step(operation, args)
    return this.result(await io.read(oid, operation, options), handle)
  }

  /** Adds the call to a read operation; `result` decodes its answer afterwards. */
  step(operation: ReadOperation, args: I): ReadHandle<Buffer> {
    const { cls, name, input } = this.definition
    return operation.exec(cls, name, encode(input, args))
  }

  result(results: ReadResults, handle: ReadHandle<Buffer>): O {
    const { cls, name, output } = this.definition
    return decode(output, results.get(handle), `answer of ${cls}.${name}`)
  }
}

/** An object-class method that writes and answers nothing: as a step of a write operation, or as one of its own. */
export class WriteMethod<I> {
  constructor(readonly definition: Omit<MethodDefinition<I, void>, 'output'>) {}

  async call(io: IoCtx, oid: string, args: I, options?: OperationOptions): Promise<void> {
    await io.write(oid, this.step(new NewWriteOperation(), args), options)
  }

  step(operation: WriteOperation, args: I): WriteOperation {
    const { cls, name, input } = this.definition
    return operation.exec(cls, name, encode(input, args))
  }
}

/** A writing method with an answer: only as an operation of its own, since a write operation returns nothing. */
export class ExecMethod<I, O> {
  constructor(readonly definition: MethodDefinition<I, O>) {}

  async call(io: IoCtx, oid: string, args: I, options?: OperationOptions): Promise<O> {
    const { cls, name, input, output } = this.definition
    return decode(output, await io.exec(oid, cls, name, encode(input, args), options), `answer of ${cls}.${name}`)
  }
}

export function readMethod<I, O>(definition: MethodDefinition<I, O>): ReadMethod<I, O> {
  return new ReadMethod(definition)
}

export function writeMethod<I>(definition: Omit<MethodDefinition<I, void>, 'output'>): WriteMethod<I> {
  return new WriteMethod(definition)
}

export function execMethod<I, O>(definition: MethodDefinition<I, O>): ExecMethod<I, O> {
  return new ExecMethod(definition)
}
