import * as cls from '../../../cls/journal/client.ts'
import type { Client } from '../../../cls/journal/types.ts'
import { updateClientState } from '../../../journal/clients.ts'
import { JournalMetadata } from '../../../journal/metadata.ts'
import { journalDataPrefix, journalHeaderName } from '../../../journal/names.ts'
import { errnoText } from '../../../rados/errno-text.ts'
import { Errno, RadosError } from '../../../rados/errors.ts'
import type { IoCtx } from '../../../rados/io-ctx.ts'
import { FEATURE_JOURNALING, hasFeature } from '../../../rbd/features.ts'
import type { Command } from '../frame/command.ts'
import { formatOptions, imageOption, namespaceOption, poolOption, together } from '../frame/common-options.ts'
import type { CommandContext } from '../frame/context.ts'
import { CommandFailure, invalid } from '../frame/failure.ts'
import type { Arguments } from '../frame/option-spec.ts'
import { extractSpec } from '../frame/specs.ts'
import { byteText } from './text.ts'

const journalSpec: Arguments = {
  positional: [{ name: 'journal-spec', description: 'journal specification\n(example: [<pool-name>/[<namespace>/]]<journal-name>)' }],
  options: [poolOption(), namespaceOption(), imageOption(), { name: 'journal', description: 'journal name' }],
}

/** A journal by its own name, or by its image's: that is the image's id. @throws CommandFailure */
async function takeJournal(context: CommandContext): Promise<{ io: IoCtx; journalId: string }> {
  const { args } = context
  let pool = args.text('pool') ?? ''
  let namespace = args.text('namespace') ?? ''
  const apply = (text: string, validation: 'full' | 'none') => {
    const spec = extractSpec(context, text, validation)
    pool = spec.pool ?? pool
    namespace = spec.namespace ?? namespace
    return spec.name
  }
  let journalId = args.text('journal') ?? ''
  if (journalId !== '') journalId = apply(journalId, 'full')
  let image = args.text('image') ?? ''
  if (image !== '') image = apply(image, 'none')
  if (journalId === '') {
    const text = args.take()
    if (text !== '') journalId = apply(text, 'full')
  }
  if (journalId === '' && image === '') throw invalid('journal was not specified')
  const io = await context.openPool({ pool, namespace })
  if (journalId !== '') return { io, journalId }
  let opened
  try {
    opened = await context.openImage(io, { name: image }, 'read-only')
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error
    context.complain(error.message)
    throw new CommandFailure(error.status, `failed to open image ${image} to get journal name: ${errnoText(error.status)}`)
  }
  if (!hasFeature(opened.header.features, FEATURE_JOURNALING)) throw invalid(`journaling is not enabled for image ${image}`)
  return { io, journalId: opened.id }
}

async function failing<T>(context: CommandContext, step: (errno: number) => string, command: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.terminal.err(`${step(error.errno)}\n`)
    throw new CommandFailure(error.errno, `${command}: ${errnoText(error.errno)}`, { cause: error })
  }
}

async function info(context: CommandContext): Promise<void> {
  const { io, journalId } = await takeJournal(context)
  const formatter = context.formatter()
  const oid = journalHeaderName(journalId)
  const { order, splayWidth, poolId } = await failing(
    context,
    (errno) => `failed to get journal metadata: ${errnoText(errno)}`,
    'journal info',
    async () => ({
      order: await cls.getOrder.call(io, oid, undefined),
      splayWidth: await cls.getSplayWidth.call(io, oid, undefined),
      poolId: await cls.getPoolId.call(io, oid, undefined),
    }),
  )
  const pool = poolId < 0n ? undefined : (await (await context.cluster()).listPools()).find(({ id }) => id === poolId)?.name
  const prefix = journalDataPrefix(io.poolId, journalId)
  if (formatter) {
    formatter.openObject('journal').string('journal_id', journalId).string('header_oid', oid).string('object_oid_prefix', prefix)
    formatter.number('order', order).number('splay_width', splayWidth)
    if (pool !== undefined) formatter.string('object_pool', pool)
    context.terminal.out(formatter.close().toString())
    return
  }
  context.line(`rbd journal '${journalId}':\n\theader_oid: ${oid}\n\tobject_oid_prefix: ${prefix}`)
  context.line(`\torder: ${order} (${byteText(2 ** order)} objects)\n\tsplay_width: ${splayWidth}`)
  if (pool !== undefined) context.line(`\tobject_pool: ${pool}`)
}

async function status(context: CommandContext): Promise<void> {
  const { io, journalId } = await takeJournal(context)
  const formatter = context.formatter()
  const metadata = context.adoptAsync(
    await failing(context, () => 'warning: failed to get journal metadata', 'journal status', () => JournalMetadata.open({ io, journalId, log: context.log })),
  )
  const clients = [...metadata.clients.values()]
  if (!formatter) {
    context.line(`minimum_set: ${metadata.minimumSet}\nactive_set: ${metadata.activeSet}\nregistered clients: `)
    for (const client of clients) context.line(`\t${clientText(client)}`)
    return
  }
  formatter.openObject('status').number('minimum_set', metadata.minimumSet).number('active_set', metadata.activeSet).openArray('registered_clients')
  for (const { id, data, commitPosition, state } of clients) {
    formatter.openObject('client').string('id', id).string('data', hexdump(data)).openObject('commit_position').openArray('object_positions')
    for (const { objectNumber, tagTid, entryTid } of commitPosition.objectPositions) {
      formatter.openObject('object_position').number('object_number', objectNumber).number('tag_tid', tagTid).number('entry_tid', entryTid).close()
    }
    formatter.close().close().string('state', state).close()
  }
  context.terminal.out(formatter.close().close().toString())
}

function clientText({ id, commitPosition, state }: Client): string {
  const positions = commitPosition.objectPositions.map(
    ({ objectNumber, tagTid, entryTid }) => `[object_number=${objectNumber}, tag_tid=${tagTid}, entry_tid=${entryTid}]`,
  )
  return `[id=${id}, commit_position=[positions=[${positions.join(', ')}]], state=${state}]`
}

/** As Ceph's bufferlist prints itself: 16 bytes a line. */
function hexdump(data: Buffer): string {
  if (data.length === 0) return ''
  let text = ''
  const at = (offset: number) => offset.toString(16).padStart(8, '0')
  for (let start = 0; start < data.length; start += 16) {
    const row = data.subarray(start, start + 16)
    const cells = Array.from({ length: 16 }, (_, index) => (index < row.length ? row[index]!.toString(16).padStart(2, '0') : '  '))
    const hex = `${cells.slice(0, 8).join(' ')}  ${cells.slice(8).join(' ')}`
    const shown = [...row].map((byte) => (byte > 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('')
    text += `${at(start)}  ${hex}  |${shown}|\n`
  }
  return `${text}${at(data.length)}\n`
}

async function disconnect(context: CommandContext): Promise<void> {
  const { io, journalId } = await takeJournal(context)
  const clientId = context.args.text('client-id') ?? ''
  const command = (errno: number) => `journal client disconnect: ${errnoText(errno)}`
  let metadata: JournalMetadata
  try {
    metadata = await JournalMetadata.open({ io, journalId, log: context.log })
  } catch (error) {
    if (!(error instanceof RadosError)) throw error
    context.terminal.err('warning: failed to get journal metadata\n')
    throw new CommandFailure(error.errno, command(error.errno), { cause: error })
  }
  context.adoptAsync(metadata)
  let found = false
  for (const { id } of metadata.clients.values()) {
    if (id === '' || (clientId !== '' && clientId !== id)) continue
    found = true
    await updateClientState(metadata, id, 'disconnected')
  }
  if (clientId === '' || found) return
  context.terminal.err(`warning: client ${clientId} is not registered\n`)
  throw new CommandFailure(Errno.ENOENT, command(Errno.ENOENT))
}

export const journalCommands: readonly Command[] = [
  { path: ['journal', 'info'], description: 'Show information about image journal.', arguments: together(journalSpec, formatOptions), execute: info },
  { path: ['journal', 'status'], description: 'Show status of image journal.', arguments: together(journalSpec, formatOptions), execute: status },
  {
    path: ['journal', 'client', 'disconnect'],
    description: 'Flag image journal client as disconnected.',
    arguments: together(journalSpec, [{ name: 'client-id', description: 'client ID (or leave unspecified to disconnect all)' }]),
    execute: disconnect,
  },
]
