import { MemoryEngine } from '../../../src/drivers/emulator/engines/memory.ts'
import type { EngineClient, ObjectChanges, ObjectId } from '../../../src/drivers/emulator/engine.ts'

/** A change of an object, as the cluster applies it. */
export interface AppliedChange {
  /** of the client */
  readonly address: string
  readonly pool: number
  readonly namespace: string
  readonly oid: string
  readonly changes: ObjectChanges
  readonly version: number
}

/** A cluster in memory that tells of each change, in the order in which they take effect. */
export class ObservedEngine extends MemoryEngine {
  onApplied: (change: AppliedChange) => void = () => undefined

  override commit(client: EngineClient, id: ObjectId, revision: number, changes: ObjectChanges): number | undefined {
    const version = super.commit(client, id, revision, changes)
    if (version === undefined) return undefined
    const [namespace, oid] = id.key.split('\0') as [string, string]
    this.onApplied({ address: client.address, pool: id.pool, namespace, oid, changes, version })
    return version
  }
}
