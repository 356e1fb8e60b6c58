import type { Arguments, OptionSpec, PositionalSpec } from './option-spec.ts'

/* Options that many commands share, worded as the C++ tool has them (tools/rbd/ArgumentTypes.cc). */

/** `source` and `dest` images of one command have options of their own. */
export type Role = 'source' | 'dest' | undefined

function roleText(role: Role): string {
  return role === 'source' ? 'source ' : role === 'dest' ? 'destination ' : ''
}

export function poolOption(role?: Role, suffix = ''): OptionSpec {
  const description = `${roleText(role)}pool name${suffix}`
  return role === 'dest' ? { name: 'dest-pool', description } : { name: 'pool', short: 'p', description }
}

export function namespaceOption(role?: Role): OptionSpec {
  return { name: role === 'dest' ? 'dest-namespace' : 'namespace', description: `${roleText(role)}namespace name` }
}

export function imageOption(role?: Role, suffix = ''): OptionSpec {
  return { name: role === 'dest' ? 'dest' : 'image', description: `${roleText(role)}image name${suffix}` }
}

export function snapOption(role?: Role): OptionSpec {
  return { name: role === 'dest' ? 'dest-snap' : 'snap', description: `${roleText(role)}snapshot name` }
}

export const imageIdOption: OptionSpec = { name: 'image-id', description: 'image id' }
export const noProgressOption: OptionSpec = { name: 'no-progress', flag: true, description: 'disable progress output' }
export const verboseOption: OptionSpec = { name: 'verbose', flag: true, description: 'be verbose' }

const formats = ['plain', 'json', 'xml'] as const
export type Format = (typeof formats)[number]

export const formatOptions: readonly OptionSpec[] = [
  { name: 'format', description: 'output format (plain, json, or xml) [default: plain]', parse: (text) => formats.find((format) => format === text) },
  { name: 'pretty-format', flag: true, description: 'pretty formatting (json and xml)' },
]

export const snapCreateOptions: readonly OptionSpec[] = [
  { name: 'skip-quiesce', flag: true, description: 'do not run quiesce hooks' },
  { name: 'ignore-quiesce-error', flag: true, description: 'ignore quiesce hook error' },
]

/** `POOL` or `POOL/NAMESPACE`, with its options. */
export function poolSpec(namespaces: boolean): Arguments {
  const poolName: OptionSpec = { name: 'pool', short: 'p', description: 'pool name' }
  return namespaces
    ? {
        positional: [{ name: 'pool-spec', description: 'pool specification\n(example: <pool-name>[/<namespace>]' }],
        options: [poolName, namespaceOption()],
      }
    : { positional: [{ name: 'pool-name', description: 'pool name' }], options: [poolName] }
}

export function imageSpec(role?: Role): Arguments {
  return spec(role, 'image-spec', 'image specification', '<image-name>', [imageOption(role)])
}

export function snapSpec(role?: Role): Arguments {
  return spec(role, 'snap-spec', 'snapshot specification', '<image-name>@<snap-name>', [imageOption(role), snapOption(role)])
}

export function imageOrSnapSpec(role?: Role): Arguments {
  return spec(role, 'image-or-snap-spec', 'image or snapshot specification', '<image-name>[@<snap-name>]', [imageOption(role), snapOption(role)])
}

function spec(role: Role, name: string, what: string, example: string, options: OptionSpec[]): Arguments {
  const positional: PositionalSpec = {
    name: `${role === undefined ? '' : `${role}-`}${name}`,
    description: `${roleText(role)}${what}\n(example: [<pool-name>/[<namespace>/]]${example})`,
  }
  return { positional: [positional], options: [poolOption(role), namespaceOption(role), ...options] }
}

/** Several groups of arguments as one, in their order; a list is of options. */
export function together(...groups: (Partial<Arguments> | readonly OptionSpec[])[]): Arguments {
  const all = groups.map((group) => (isList(group) ? { positional: [], options: group } : group))
  return { positional: all.flatMap(({ positional }) => positional ?? []), options: all.flatMap(({ options }) => options ?? []) }
}

function isList(group: Partial<Arguments> | readonly OptionSpec[]): group is readonly OptionSpec[] {
  return Array.isArray(group)
}
