import { afterAll, beforeAll, describe } from 'vitest'
import type { Cluster } from '../../src/rados/cluster.ts'
import type { IoCtx } from '../../src/rados/io-ctx.ts'
import { clusterContract } from './cluster.suite.ts'
import { operationContract } from './operation.suite.ts'
import { snapshotContract } from './snapshot.suite.ts'
import { watchContract } from './watch.suite.ts'

/** One cluster under test, with any number of client connections to it. */
export interface ContractFixture {
  connect(): Promise<Cluster>
  /** An empty pool, enabled for object classes rbd and lock. */
  pool: string
  close(): Promise<void>
}

/** What every test gets: two connections, and a namespace of its own so that no test sees another's objects. */
export interface ContractContext {
  readonly fixture: ContractFixture
  readonly cluster: Cluster
  /** a second client of the same cluster */
  readonly other: Cluster
  /** A fresh namespace of the pool. */
  freshIo(cluster?: Cluster): Promise<IoCtx>
}

/** What every driver of the RADOS contract has to do, whatever is below it. */
export function radosContract(name: string, start: () => Promise<ContractFixture>): void {
  describe(name, () => {
    let fixture: ContractFixture | undefined
    let cluster: Cluster | undefined
    let other: Cluster | undefined
    let namespaces = 0

    beforeAll(async () => {
      fixture = await start()
      cluster = await fixture.connect()
      other = await fixture.connect()
    })
    afterAll(async () => {
      await cluster?.close()
      await other?.close()
      await fixture?.close()
    })

    const context: ContractContext = {
      get fixture() {
        return fixture!
      },
      get cluster() {
        return cluster!
      },
      get other() {
        return other!
      },
      async freshIo(of = cluster!) {
        const pool = await of.openPool(fixture!.pool)
        const io = pool.duplicate({ namespace: `ns-${++namespaces}` })
        pool.close()
        return io
      },
    }
    clusterContract(context)
    operationContract(context)
    snapshotContract(context)
    watchContract(context)
  })
}

/** The errno (positive) that a call fails with; 0 if it succeeds. */
export async function errnoOf(call: Promise<unknown>): Promise<number> {
  try {
    await call
    return 0
  } catch (error) {
    const { errno } = error as { errno?: number }
    if (errno === undefined) throw error
    return errno
  }
}
