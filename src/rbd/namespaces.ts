import { namespaceList } from '../cls/rbd/pool-client.ts'
import { Errno, isErrno } from '../rados/errors.ts'
import type { IoCtx } from '../rados/io-ctx.ts'
import { RBD_NAMESPACE } from './names.ts'

const pageSize = 1024

/** The namespaces of a pool besides the default one, sorted. */
export async function listNamespaces(io: IoCtx): Promise<string[]> {
  const pool = io.duplicate({ namespace: '' })
  const names: string[] = []
  try {
    for (;;) {
      const page = await namespaceList.call(pool, RBD_NAMESPACE, { startAfter: names.at(-1) ?? '', max: pageSize })
      names.push(...page)
      if (page.length < pageSize) return names
    }
  } catch (error) {
    if (isErrno(error, Errno.ENOENT)) return names
    throw error
  } finally {
    pool.close()
  }
}

export async function namespaceExists(io: IoCtx, namespace: string): Promise<boolean> {
  return (await listNamespaces(io)).includes(namespace)
}
