import { execFileSync } from 'node:child_process'
import { ConfigError } from '../config/config-error.ts'

/** A user to become, and the group with it. */
export interface Identity {
  uid: number
  gid: number
}

function lookUp(kind: 'user' | 'group', name: string): { uid?: number; gid: number } {
  const fail = (cause?: unknown): never => {
    throw new ConfigError(`there is no ${kind} "${name}"`, `set${kind}`, { cause })
  }
  // The name service knows users of LDAP and the like, which /etc/passwd does not.
  const database = kind === 'user' ? 'passwd' : 'group'
  let line: string
  try {
    line = execFileSync('getent', [database, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch (error) {
    return fail(error)
  }
  const fields = line.trim().split(':')
  if (kind === 'group') return { gid: Number(fields[2]) }
  return { uid: Number(fields[2]), gid: Number(fields[3]) }
}

/** Who `setuser` and `setgroup` name; undefined when neither is set. @throws ConfigError for unknown names */
export function identityOf(setuser: string, setgroup: string): Identity | undefined {
  if (setuser === '' && setgroup === '') return undefined
  const user = setuser === '' ? undefined : lookUp('user', setuser)
  const group = setgroup === '' ? undefined : lookUp('group', setgroup)
  return { uid: user?.uid ?? process.getuid!(), gid: group?.gid ?? user?.gid ?? process.getgid!() }
}

/** Becomes that user for good. Somebody who is it already needs no privilege. */
export function become(identity: Identity, setuser: string): void {
  const { uid, gid } = identity
  if (process.getuid!() === uid && process.getgid!() === gid) return
  try {
    if (setuser !== '') (process as unknown as { initgroups(user: string, group: number): void }).initgroups(setuser, gid) // not in Node's types
    else process.setgroups!([gid])
    process.setgid!(gid)
    process.setuid!(uid)
  } catch (error) {
    throw new ConfigError(`can't become user ${uid}, group ${gid}: ${(error as NodeJS.ErrnoException).code}; only root can`, 'setuser/setgroup', {
      cause: error,
    })
  }
}
