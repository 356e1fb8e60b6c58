import type { Host } from './host.ts'

const PREFIX = 'service/'

export interface ServiceRecord {
  readonly service: string
  readonly daemon: string
  /** global id of the connection that registered it */
  readonly gid: number
  readonly address: string
  /** milliseconds since the epoch */
  readonly started: number
  readonly metadata: Readonly<Record<string, string>>
  readonly status: Readonly<Record<string, string>>
  /** when `status` was told, milliseconds since the epoch */
  readonly statusTime: number
}

/** A connection that shows up as a daemon in the service map, as long as its session lives. */
export class ServiceRegistration {
  private record: ServiceRecord

  constructor(
    private readonly host: Host,
    registered: Pick<ServiceRecord, 'service' | 'daemon' | 'address' | 'metadata' | 'status'> & { instanceId: bigint },
  ) {
    const { instanceId, ...daemon } = registered
    const now = host.clock.now()
    this.record = { ...daemon, gid: Number(instanceId), started: now, statusTime: now }
  }

  private get key(): string {
    return `${PREFIX}${this.record.service}/${this.record.daemon}`
  }

  async store(): Promise<void> {
    await this.host.engine.tableCommit({ expect: [], put: [[this.key, JSON.stringify(this.record)]] })
  }

  async update(status: Readonly<Record<string, string>>): Promise<void> {
    this.record = { ...this.record, status, statusTime: this.host.clock.now() }
    await this.store()
  }

  async remove(): Promise<void> {
    await this.host.engine.tableCommit({ expect: [], put: [[this.key, undefined]] })
  }
}

/** Daemons by service, those alone whose connections are alive. */
export async function listServices(host: Host): Promise<Map<string, ServiceRecord[]>> {
  const services = new Map<string, ServiceRecord[]>()
  const living = await host.sessions.list()
  for (const [key, text] of await host.engine.tableList(PREFIX)) {
    const record = JSON.parse(text) as ServiceRecord
    if (!living.has(BigInt(record.gid))) {
      await host.engine.tableCommit({ expect: [[key, text]], put: [[key, undefined]] })
      continue
    }
    const daemons = services.get(record.service) ?? []
    daemons.push(record)
    services.set(record.service, daemons)
  }
  return services
}
