import * as cls from '../cls/journal/client.ts'
import type { Client, ObjectPosition } from '../cls/journal/types.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import type { JournalMetadata } from './metadata.ts'
import { journalHeaderName } from './names.ts'

/* A journal's clients: whoever has to have read an entry before it may be trimmed. Header objects are named by their journal's id. */

/** undefined when it is not registered; ENOENT is the same for a journal that does not exist. */
export async function findClient(io: IoCtx, journalId: string, clientId: string): Promise<Client | undefined> {
  try {
    return await cls.getClient.call(io, journalHeaderName(journalId), { id: clientId })
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

/** Registers a client without a commit position; one that is registered gets the new data. */
export async function registerClient(metadata: JournalMetadata, clientId: string, data: Buffer): Promise<void> {
  try {
    await cls.clientRegister.call(metadata.io, metadata.oid, { id: clientId, data })
  } catch (error) {
    if (!isErrno(error, Errno.EEXIST)) throw error
    await cls.clientUpdateData.call(metadata.io, metadata.oid, { id: clientId, data })
  }
  await metadata.notify()
}

export async function updateClientData(metadata: JournalMetadata, clientId: string, data: Buffer): Promise<void> {
  await cls.clientUpdateData.call(metadata.io, metadata.oid, { id: clientId, data })
  await metadata.notify()
}

/** Does nothing for a client that is not registered. */
export async function unregisterClient(metadata: JournalMetadata, clientId: string): Promise<void> {
  try {
    await cls.clientUnregister.call(metadata.io, metadata.oid, { id: clientId })
  } catch (error) {
    if (!isErrno(error, Errno.ENOENT)) throw error
  }
  await metadata.notify()
}

/** Records what a client has committed. The others, who may trim the journal then, are told without waiting for their answers. */
export async function commitPosition(metadata: JournalMetadata, clientId: string, positions: readonly ObjectPosition[]): Promise<void> {
  await cls.clientCommit.call(metadata.io, metadata.oid, { id: clientId, commitPosition: { objectPositions: [...positions] } })
  void metadata.notify()
}

/** A client that is disconnected no longer keeps the journal from being trimmed. */
export async function updateClientState(metadata: JournalMetadata, clientId: string, state: Client['state']): Promise<void> {
  await cls.clientUpdateState.call(metadata.io, metadata.oid, { id: clientId, state })
  await metadata.notify()
}
