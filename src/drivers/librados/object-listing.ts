import type { LibradosIoCtx } from './io-ctx.ts'
import { Arena, copyFrom, readNumber } from './memory.ts'
import type { Pointer } from './native.ts'

/** Names per round trip, which also bounds a page's memory. */
const PAGE = 1000
/** rados_object_list_item: {size_t, char *} for name, namespace, locator */
const ITEM_BYTES = 48

/** Names in the context's namespace, page by page; the listing itself blocks, so it runs off the main thread. */
export async function* listObjects(io: LibradosIoCtx): AsyncGenerator<string, void, undefined> {
  const { api, connection, native } = io
  const release = io.hold()
  const end = api.objectListEnd(native)
  // librados moves `next` in place; it must not be the cursor it starts from.
  let cursor = api.objectListBegin(native)
  let next = api.objectListBegin(native)
  let finished = true
  try {
    while (api.objectListIsEnd(native, cursor) === 0) {
      connection.assertOpen('list objects')
      finished = false
      const names = await readPage(io, cursor, end, next)
      finished = true
      ;[cursor, next] = [next, cursor]
      yield* names
    }
  } finally {
    // A call that was given up may still use them; then they are lost with the connection.
    if (finished) for (const one of [cursor, next, end]) api.objectListCursorFree(native, one)
    release()
  }
}

async function readPage(io: LibradosIoCtx, cursor: Pointer, end: Pointer, next: Pointer): Promise<string[]> {
  const { api, native } = io
  const items = Buffer.alloc(PAGE * ITEM_BYTES)
  const out = new Arena(1)
  out.setU64(out.take(), next)
  const release = io.hold()
  let names: string[] = []
  const count = await io.connection.blocking('list objects', (done) =>
    api.objectList.async(native, cursor, end, PAGE, null, 0, items, out.address, (error, result) => {
      release()
      names = Array.from({ length: Math.max(0, result) }, (_, index) =>
        copyFrom(readNumber(items, index * ITEM_BYTES + 8), readNumber(items, index * ITEM_BYTES)).toString(),
      )
      api.objectListFree(PAGE, items)
      done(error, result)
    }),
  )
  if (count < 0) throw io.error(count, 'list objects')
  return names
}
