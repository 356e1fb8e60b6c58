import type { CommandContext } from './context.ts'
import { invalid } from './failure.ts'
import type { Role } from './common-options.ts'

/* Pools, images and snapshots as they are named on the command line (tools/rbd/Utils.cc). An empty pool name is the default pool. */

export interface PoolName {
  pool: string
  /** '' for the default namespace */
  namespace: string
}

export interface ImageName extends PoolName {
  image: string
  /** '' for none */
  snap: string
}

/**
 * What may stand in names: `full` nothing that separates (for new names), `snap` no separators in the name of the snapshot, `none`
 * whatever can be told apart.
 */
export type NameValidation = 'none' | 'snap' | 'full'

const patterns: Record<NameValidation, RegExp> = {
  full: /^(?:([^/@]+)\/(?:([^/@]+)\/)?)?([^/@]+)(?:@([^/@]+))?$/,
  snap: /^(?:([^/]+)\/(?:([^/@]+)\/)?)?([^@]+)(?:@([^/@]+))?$/,
  none: /^(?:([^/]+)\/(?:([^/@]+)\/)?)?([^@]+)(?:@(.+))?$/,
}

function validatesNames(context: CommandContext): boolean {
  return !/^(false|0|no|off)$/i.test(context.configuration.options.text('rbd_validate_names') ?? 'true')
}

export interface Spec {
  pool: string | undefined
  namespace: string | undefined
  name: string
  snap: string | undefined
}

/** Takes `[pool/[namespace/]]name[@snap]` apart. @throws CommandFailure */
export function extractSpec(context: CommandContext, spec: string, validation: NameValidation): Spec {
  const match = patterns[validatesNames(context) ? validation : 'none'].exec(spec)
  if (!match) throw invalid(`invalid spec '${spec}'`)
  return { pool: match[1], namespace: match[2], name: match[3]!, snap: match[4] }
}

/** The pool of a command as option or argument. @throws CommandFailure */
export function takePool(context: CommandContext, options: { validate: boolean; namespaces: boolean }): PoolName {
  const { args } = context
  let namespace = (options.namespaces ? args.text('namespace') : undefined) ?? ''
  let pool = args.text('pool')
  if (pool === undefined) {
    pool = args.peek()
    if (pool !== '') {
      args.take()
      const slash = pool.lastIndexOf('/')
      if (options.namespaces && slash >= 0) {
        namespace = pool.slice(slash + 1)
        pool = pool.slice(0, slash)
      }
    }
  }
  if (options.validate && validatesNames(context) && /[/@]/.test(pool)) throw invalid(`invalid pool '${pool}'`)
  if (/[/@]/.test(namespace)) throw invalid(`invalid namespace '${namespace}'`)
  return { pool, namespace }
}

export interface TakeImage {
  role?: Role
  /** whether a positional argument may name it; standard is yes */
  positional?: boolean
  imageRequired?: boolean
  snap: 'none' | 'permitted' | 'required'
  validation?: NameValidation
  /** what is named instead of an image, with its option, e.g. a group */
  what?: { option: string; description: string }
}

/** An image, perhaps with a snapshot, as options or argument. @throws CommandFailure */
export function takeImage(context: CommandContext, options: TakeImage): ImageName {
  const { role, snap: presence } = options
  const { args } = context
  const validation = options.validation ?? 'none'
  const key = (name: string) => (role === 'dest' ? `dest-${name}` : name)
  const what = options.what ?? { option: role === 'dest' ? 'dest' : 'image', description: 'image' }
  const prefix = role === 'dest' ? 'destination ' : ''

  const name: ImageName = {
    pool: args.text(key('pool')) ?? '',
    namespace: args.text(key('namespace')) ?? '',
    image: args.text(what.option) ?? '',
    snap: args.text(key('snap')) ?? '',
  }
  const apply = (text: string) => {
    const spec = extractSpec(context, text, validation)
    Object.assign(name, { image: spec.name, pool: spec.pool ?? name.pool, namespace: spec.namespace ?? name.namespace, snap: spec.snap ?? name.snap })
  }
  if (options.what === undefined && name.image !== '') apply(name.image)
  if (options.positional !== false && name.image === '') {
    const text = args.take()
    if (text !== '') apply(text)
  }
  if (options.imageRequired !== false && name.image === '') throw invalid(`${prefix}${what.description} name was not specified`)
  if (validation === 'full' && /[@/]/.test(name.pool)) throw invalid(`invalid pool name '${name.pool}'`)
  if (/[@/]/.test(name.namespace)) throw invalid(`invalid namespace name '${name.namespace}'`)
  if (presence === 'none' && name.snap !== '') throw invalid(`${prefix}snapshot name specified for a command that doesn't use it`)
  if (presence === 'required' && name.snap === '') throw invalid(`${prefix}snapshot name was not specified`)
  if (validation === 'snap' && /[@/]/.test(name.snap)) throw invalid(`invalid snap name '${name.snap}'`)
  return name
}

export interface ImageId extends PoolName {
  id: string
}

/** An image by id, as option or argument. @throws CommandFailure */
export function takeImageId(context: CommandContext): ImageId {
  const { args } = context
  const named: ImageId = { pool: args.text('pool') ?? '', namespace: args.text('namespace') ?? '', id: args.text('image-id') ?? '' }
  if (named.id === '') {
    const text = args.take()
    if (text !== '') {
      const spec = extractSpec(context, text, 'full')
      if (spec.snap !== undefined) throw invalid("snapshot name specified for a command that doesn't use it")
      Object.assign(named, { id: spec.name, pool: spec.pool ?? named.pool, namespace: spec.namespace ?? named.namespace })
    }
  }
  if (named.id === '') throw invalid('image id was not specified')
  return named
}
