import { Errno, RadosError } from '../rados/errors.ts'
import type { ObjectContext } from './object-context.ts'

/** A method's body: its answer, or a RadosError with the errno the class answers with. */
export type MethodBody = (object: ObjectContext, input: Buffer) => Promise<Buffer> | Buffer

export interface ServerMethod {
  readonly cls: string
  readonly name: string
  /** A writing method is a write wherever it stands; a reading one may stand in both kinds of operation (CLS_METHOD_WR). */
  readonly writes: boolean
  readonly run: MethodBody
}

/** The object classes a cluster has loaded. */
export class ClassRegistry {
  private readonly methods = new Map<string, ServerMethod>()

  constructor(methods: Iterable<ServerMethod>) {
    for (const method of methods) this.methods.set(`${method.cls}.${method.name}`, method)
  }

  /** @throws RadosError EOPNOTSUPP for a class or method that is not loaded, as an OSD answers */
  find(cls: string, name: string): ServerMethod {
    const method = this.methods.get(`${cls}.${name}`)
    if (!method) throw new RadosError(Errno.EOPNOTSUPP, { op: `exec ${cls}.${name}` })
    return method
  }

  [Symbol.iterator](): IterableIterator<ServerMethod> {
    return this.methods.values()
  }
}
