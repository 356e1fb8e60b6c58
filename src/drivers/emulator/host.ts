import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import type { ClassRegistry } from '../../objclass/registry.ts'
import { MapStore } from './cluster-map.ts'
import type { Engine } from './engine.ts'
import { ObjectQueue } from './executor.ts'
import { decodeMessage, encodeMessage, type Message } from './messages.ts'
import { Sessions } from './sessions.ts'

/** A client connection in this process, as the host sees it. */
export interface HostedClient {
  readonly instanceId: bigint
  deliver(message: Message): void
}

/** One emulated cluster as this process has it open: what its connections share. */
export class Host {
  readonly map: MapStore
  readonly sessions: Sessions
  readonly queue = new ObjectQueue()
  private readonly clients = new Map<bigint, HostedClient>()

  constructor(
    readonly engine: Engine,
    readonly clock: Clock,
    readonly random: Random,
    readonly classes: ClassRegistry,
  ) {
    this.map = new MapStore(engine)
    this.sessions = new Sessions(engine, clock)
    engine.receive((bytes) => this.dispatch(decodeMessage(bytes)))
  }

  get used(): boolean {
    return this.clients.size > 0
  }

  add(client: HostedClient): void {
    this.clients.set(client.instanceId, client)
  }

  remove(client: HostedClient): void {
    this.clients.delete(client.instanceId)
  }

  /** False when nobody is there. */
  async send(endpoint: string, message: Message): Promise<boolean> {
    return this.engine.send(endpoint, encodeMessage(message))
  }

  /** Tells every process that the map has changed, this one first. */
  async mapChanged(): Promise<void> {
    for (const client of [...this.clients.values()]) client.deliver({ type: 'map' })
    const endpoints = new Set([...(await this.sessions.list()).values()].map(({ endpoint }) => endpoint))
    endpoints.delete(this.engine.endpoint)
    await Promise.all([...endpoints].map((endpoint) => this.send(endpoint, { type: 'map' })))
  }

  private dispatch(message: Message): void {
    if (message.type !== 'map') {
      this.clients.get(message.to)?.deliver(message)
      return
    }
    void this.map.refresh().then(
      () => {
        for (const client of [...this.clients.values()]) client.deliver(message)
      },
      () => undefined, // who needs the map asks again, and is told
    )
  }
}
