import { hostname } from 'node:os'

/** What `$name` in a value stands for: the process's own facts, and every other option. */
export interface MetavariableSource {
  /** name of the cluster, e.g. `site-b` */
  cluster: string
  /** `client.rbd-mirror.b` */
  entity: string
  pid: number
  /** the value of another option, itself expanded; undefined when there is none of that name */
  option(name: string): string | undefined
}

const pattern = /\$\{([a-z_][a-z0-9_]*)\}|\$([a-z_][a-z0-9_]*)/gi

/** Replaces `$cluster`, `$type`, `$name`, `$id`, `$num`, `$host`, `$pid`, `$cctid`, `$home` and `$any_option` (with or without braces); leaves unknown ones. */
export function expandMetavariables(value: string, source: MetavariableSource): string {
  if (!value.includes('$')) return value
  return value.replace(pattern, (whole, braced: string | undefined, plain: string | undefined) => {
    return lookup((braced ?? plain)!, source) ?? whole
  })
}

function lookup(name: string, source: MetavariableSource): string | undefined {
  const dot = source.entity.indexOf('.')
  switch (name) {
    case 'cluster':
      return source.cluster
    case 'type':
      return source.entity.slice(0, dot)
    case 'name':
      return source.entity
    case 'id':
    case 'num':
      return source.entity.slice(dot + 1)
    case 'host':
      return hostname().split('.')[0]
    case 'pid':
      return String(source.pid)
    // The address of a C++ object there, unique in the process; this process has one context.
    case 'cctid':
      return String(source.pid)
    case 'home':
      return process.env['HOME']
    default:
      return source.option(name)
  }
}
