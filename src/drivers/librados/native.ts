import koffi, { type LibraryHandle } from 'koffi'
import { keepFreedMemory } from './memory.ts'

/** An address or an opaque handle of librados; user-space addresses are below 2^47, so a number holds them. */
export type Pointer = number
/** What koffi passes as `void *`: memory of JavaScript, an address, or null. */
type Memory = Uint8Array | Pointer | null
type Out = Pointer

/** Numbers when they are safe integers, else bigints: that is how koffi hands 64-bit integers over. */
type U64 = number | bigint

export interface AsyncFunction<A extends unknown[], R> {
  (...args: A): R
  async(...args: [...A, (error: Error | null, result: R) => void]): void
}

const P = 'uintptr_t' // handles and addresses as numbers: much cheaper than koffi's pointer types
const M = 'void *'
const S = 'str'
const INT = 'int'
const U = 'uint64_t'
const LEN = 'size_t'
const NONE = 'void'

/** Thrown when the shared library of Ceph is missing on this machine. */
export class LibradosMissing extends Error {
  constructor(cause: unknown) {
    super('librados.so.2 cannot be loaded: install librados (Debian, Ubuntu: apt-get install librados2; RHEL, Fedora: dnf install librados2)', {
      cause,
    })
    this.name = 'LibradosMissing'
  }
}

/** The functions of librados.h (C API, librados.so.2) that the driver uses, in the order of that header. */
function bind(lib: LibraryHandle) {
  const define = <A extends unknown[], R>(name: string, result: string, args: string[]) =>
    lib.func(name, result, args) as unknown as AsyncFunction<A, R>
  return {
    create2: define<[Out, string, string, U64], number>('rados_create2', INT, [P, S, S, U]),
    confReadFile: define<[Pointer, string], number>('rados_conf_read_file', INT, [P, S]),
    confSet: define<[Pointer, string, string], number>('rados_conf_set', INT, [P, S, S]),
    confGet: define<[Pointer, string, Memory, number], number>('rados_conf_get', INT, [P, S, M, LEN]),
    clusterFsid: define<[Pointer, Memory, number], number>('rados_cluster_fsid', INT, [P, M, LEN]),
    getInstanceId: define<[Pointer], U64>('rados_get_instance_id', U, [P]),
    getAddrs: define<[Pointer, Out], number>('rados_getaddrs', INT, [P, P]),
    blocklistAdd: define<[Pointer, string, number], number>('rados_blocklist_add', INT, [P, S, 'uint32_t']),
    monCommand: define<[Pointer, string[], number, Memory, number, Out, Out, Out, Out], number>('rados_mon_command', INT, [
      P, 'const char **', LEN, M, LEN, P, P, P, P,
    ]),
    mgrCommand: define<[Pointer, string[], number, Memory, number, Out, Out, Out, Out], number>('rados_mgr_command', INT, [
      P, 'const char **', LEN, M, LEN, P, P, P, P,
    ]),
    bufferFree: define<[Pointer], void>('rados_buffer_free', NONE, [P]),
    serviceRegister: define<[Pointer, string, string, Memory], number>('rados_service_register', INT, [P, S, S, M]),
    serviceUpdateStatus: define<[Pointer, Memory], number>('rados_service_update_status', INT, [P, M]),

    poolLookup: define<[Pointer, string], U64>('rados_pool_lookup', 'int64_t', [P, S]),
    poolReverseLookup: define<[Pointer, U64, Memory, number], number>('rados_pool_reverse_lookup', INT, [P, 'int64_t', M, LEN]),
    ioctxCreate2: define<[Pointer, U64, Out], number>('rados_ioctx_create2', INT, [P, 'int64_t', P]),
    ioctxDestroy: define<[Pointer], void>('rados_ioctx_destroy', NONE, [P]),
    ioctxSetFullTry: define<[Pointer], void>('rados_set_pool_full_try', NONE, [P]),
    ioctxSetNamespace: define<[Pointer, string], void>('rados_ioctx_set_namespace', NONE, [P, S]),
    ioctxRequiresAlignment: define<[Pointer, Out], number>('rados_ioctx_pool_requires_alignment2', INT, [P, P]),
    ioctxRequiredAlignment: define<[Pointer, Out], number>('rados_ioctx_pool_required_alignment2', INT, [P, P]),
    ioctxSnapSetRead: define<[Pointer, U64], void>('rados_ioctx_snap_set_read', NONE, [P, U]),
    ioctxSetWriteContext: define<[Pointer, U64, Memory, number], number>('rados_ioctx_selfmanaged_snap_set_write_ctx', INT, [P, U, M, INT]),
    aioSnapCreate: define<[Pointer, Out, Pointer], void>('rados_aio_ioctx_selfmanaged_snap_create', NONE, [P, P, P]),
    aioSnapRemove: define<[Pointer, U64, Pointer], void>('rados_aio_ioctx_selfmanaged_snap_remove', NONE, [P, U, P]),
    snapRollback: define<[Pointer, string, U64], number>('rados_ioctx_selfmanaged_snap_rollback', INT, [P, S, U]),

    objectListBegin: define<[Pointer], Pointer>('rados_object_list_begin', P, [P]),
    objectListEnd: define<[Pointer], Pointer>('rados_object_list_end', P, [P]),
    objectListIsEnd: define<[Pointer, Pointer], number>('rados_object_list_is_end', INT, [P, P]),
    objectListCursorFree: define<[Pointer, Pointer], void>('rados_object_list_cursor_free', NONE, [P, P]),
    objectList: define<[Pointer, Pointer, Pointer, number, Memory, number, Memory, Out], number>('rados_object_list', INT, [
      P, P, P, LEN, M, LEN, M, P,
    ]),
    objectListFree: define<[number, Memory], void>('rados_object_list_free', NONE, [LEN, M]),

    xattrsNext: define<[Pointer, Out, Out, Out], number>('rados_getxattrs_next', INT, [P, P, P, P]),
    xattrsEnd: define<[Pointer], void>('rados_getxattrs_end', NONE, [P]),
    omapNext: define<[Pointer, Out, Out, Out, Out], number>('rados_omap_get_next2', INT, [P, P, P, P, P]),
    omapEnd: define<[Pointer], void>('rados_omap_get_end', NONE, [P]),

    aioCreateCompletion: define<[number, Pointer, Out], number>('rados_aio_create_completion2', INT, [P, P, P]),
    aioIsComplete: define<[Pointer], number>('rados_aio_is_complete', INT, [P]),
    aioReturnValue: define<[Pointer], number>('rados_aio_get_return_value', INT, [P]),
    aioVersion: define<[Pointer], U64>('rados_aio_get_version', U, [P]),
    aioRelease: define<[Pointer], void>('rados_aio_release', NONE, [P]),
    aioCancel: define<[Pointer, Pointer], number>('rados_aio_cancel', INT, [P, P]),
    aioFlushAsync: define<[Pointer, Pointer], number>('rados_aio_flush_async', INT, [P, P]),

    aioWatch: define<[Pointer, string, Pointer, Out, Pointer, Pointer, number, number], number>('rados_aio_watch2', INT, [
      P, S, P, P, P, P, 'uint32_t', P,
    ]),
    aioUnwatch: define<[Pointer, U64, Pointer], number>('rados_aio_unwatch', INT, [P, U, P]),
    watchCheck: define<[Pointer, U64], number>('rados_watch_check', INT, [P, U]),
    aioWatchFlush: define<[Pointer, Pointer], number>('rados_aio_watch_flush', INT, [P, P]),
    aioNotify: define<[Pointer, string, Pointer, Memory, number, U64, Out, Out], number>('rados_aio_notify', INT, [P, S, P, M, INT, U, P, P]),
    notifyAck: define<[Pointer, string, U64, U64, Memory, number], number>('rados_notify_ack', INT, [P, S, U, U, M, INT]),

    createWriteOp: define<[], Pointer>('rados_create_write_op', P, []),
    releaseWriteOp: define<[Pointer], void>('rados_release_write_op', NONE, [P]),
    writeAssertExists: define<[Pointer], void>('rados_write_op_assert_exists', NONE, [P]),
    writeAssertVersion: define<[Pointer, U64], void>('rados_write_op_assert_version', NONE, [P, U]),
    writeCmpext: define<[Pointer, Memory, number, number, Out], void>('rados_write_op_cmpext', NONE, [P, M, LEN, U, P]),
    writeCmpxattr: define<[Pointer, string, number, Memory, number], void>('rados_write_op_cmpxattr', NONE, [P, S, 'uint8_t', M, LEN]),
    writeOmapCmp: define<[Pointer, Memory, number, Memory, number, number, Out], void>('rados_write_op_omap_cmp2', NONE, [
      P, M, 'uint8_t', M, LEN, LEN, P,
    ]),
    writeSetXattr: define<[Pointer, string, Memory, number], void>('rados_write_op_setxattr', NONE, [P, S, M, LEN]),
    writeRemoveXattr: define<[Pointer, string], void>('rados_write_op_rmxattr', NONE, [P, S]),
    writeCreate: define<[Pointer, number, null], void>('rados_write_op_create', NONE, [P, INT, S]),
    writeWrite: define<[Pointer, Memory, number, number], void>('rados_write_op_write', NONE, [P, M, LEN, U]),
    writeFull: define<[Pointer, Memory, number], void>('rados_write_op_write_full', NONE, [P, M, LEN]),
    writeSame: define<[Pointer, Memory, number, number, number], void>('rados_write_op_writesame', NONE, [P, M, LEN, LEN, U]),
    writeAppend: define<[Pointer, Memory, number], void>('rados_write_op_append', NONE, [P, M, LEN]),
    writeRemove: define<[Pointer], void>('rados_write_op_remove', NONE, [P]),
    writeTruncate: define<[Pointer, number], void>('rados_write_op_truncate', NONE, [P, U]),
    writeZero: define<[Pointer, number, number], void>('rados_write_op_zero', NONE, [P, U, U]),
    writeExec: define<[Pointer, string, string, Memory, number, Out], void>('rados_write_op_exec', NONE, [P, S, S, M, LEN, P]),
    writeOmapSet: define<[Pointer, Memory, Memory, Memory, Memory, number], void>('rados_write_op_omap_set2', NONE, [P, M, M, M, M, LEN]),
    writeOmapRemoveKeys: define<[Pointer, Memory, Memory, number], void>('rados_write_op_omap_rm_keys2', NONE, [P, M, M, LEN]),
    writeOmapClear: define<[Pointer], void>('rados_write_op_omap_clear', NONE, [P]),
    writeSetAllocHint: define<[Pointer, number, number, number], void>('rados_write_op_set_alloc_hint2', NONE, [P, U, U, 'uint32_t']),
    aioWriteOperate: define<[Pointer, Pointer, Pointer, string, null, number], number>('rados_aio_write_op_operate', INT, [P, P, P, S, M, INT]),

    createReadOp: define<[], Pointer>('rados_create_read_op', P, []),
    releaseReadOp: define<[Pointer], void>('rados_release_read_op', NONE, [P]),
    readAssertExists: define<[Pointer], void>('rados_read_op_assert_exists', NONE, [P]),
    readAssertVersion: define<[Pointer, U64], void>('rados_read_op_assert_version', NONE, [P, U]),
    readCmpext: define<[Pointer, Memory, number, number, Out], void>('rados_read_op_cmpext', NONE, [P, M, LEN, U, P]),
    readCmpxattr: define<[Pointer, string, number, Memory, number], void>('rados_read_op_cmpxattr', NONE, [P, S, 'uint8_t', M, LEN]),
    readOmapCmp: define<[Pointer, Memory, number, Memory, number, number, Out], void>('rados_read_op_omap_cmp2', NONE, [
      P, M, 'uint8_t', M, LEN, LEN, P,
    ]),
    readGetXattrs: define<[Pointer, Out, Out], void>('rados_read_op_getxattrs', NONE, [P, P, P]),
    readStat: define<[Pointer, Out, Out, Out], void>('rados_read_op_stat', NONE, [P, P, P, P]),
    readRead: define<[Pointer, number, number, Memory, Out, Out], void>('rados_read_op_read', NONE, [P, U, LEN, M, P, P]),
    readChecksum: define<[Pointer, number, Memory, number, number, number, number, Memory, number, Out], void>('rados_read_op_checksum', NONE, [
      P, INT, M, LEN, U, LEN, LEN, M, LEN, P,
    ]),
    readExec: define<[Pointer, string, string, Memory, number, Out, Out, Out], void>('rados_read_op_exec', NONE, [P, S, S, M, LEN, P, P, P]),
    readOmapGet: define<[Pointer, string, string, number, Out, Out, Out], void>('rados_read_op_omap_get_vals2', NONE, [P, S, S, U, P, P, P]),
    readOmapGetKeys: define<[Pointer, string, number, Out, Out, Out], void>('rados_read_op_omap_get_keys2', NONE, [P, S, U, P, P, P]),
    readOmapGetByKeys: define<[Pointer, Memory, number, Memory, Out, Out], void>('rados_read_op_omap_get_vals_by_keys2', NONE, [
      P, M, LEN, M, P, P,
    ]),
    aioReadOperate: define<[Pointer, Pointer, Pointer, string, number], number>('rados_aio_read_op_operate', INT, [P, P, P, S, INT]),
  }
}

export type Librados = ReturnType<typeof bind>

let loaded: { library: LibraryHandle; api: Librados } | undefined

function load(): { library: LibraryHandle; api: Librados } {
  if (loaded) return loaded
  let library
  try {
    library = koffi.load('librados.so.2')
  } catch (cause) {
    throw new LibradosMissing(cause)
  }
  keepFreedMemory()
  return (loaded = { library, api: bind(library) })
}

/** Loads librados at its first use; throws LibradosMissing. */
export function librados(): Librados {
  return load().api
}

/** The address of an exported symbol, undefined when this librados has none of that name. */
export function symbolAddress(name: string): bigint | undefined {
  try {
    return load().library.symbol(name) as bigint
  } catch {
    return undefined
  }
}

/** A function of librados outside its C API (a mangled C++ symbol), undefined when this librados does not export it. */
export function optionalFunction<A extends unknown[], R>(name: string, result: string, args: string[]): ((...args: A) => R) | undefined {
  if (symbolAddress(name) === undefined) return undefined
  return load().library.func(name, result, args)
}

/** Addresses with which librados calls back; registered once, for the life of the process. */
export interface Callbacks {
  completion: Pointer
  notify: Pointer
  watchError: Pointer
}

/**
 * Registers the three C callbacks (rados_callback_t, rados_watchcb2_t, rados_watcherrcb_t). koffi runs them on the main thread while
 * librados' thread waits, so they must be short; what they throw is lost, so they must not throw.
 */
export function registerCallbacks(handlers: {
  completion: (completion: Pointer, index: number) => void
  notify: (index: number, notifyId: U64, cookie: U64, notifierId: U64, data: Pointer, length: number) => void
  watchError: (index: number, cookie: U64, error: number) => void
}): Callbacks {
  load()
  const register = (callback: (...args: never[]) => void, args: string[]) =>
    Number(koffi.register(callback, koffi.pointer(koffi.proto(NONE, args))))
  return {
    completion: register(handlers.completion, [P, P]),
    notify: register(handlers.notify, [P, U, U, U, P, LEN]),
    watchError: register(handlers.watchError, [P, U, INT]),
  }
}
