import { createRequire } from 'node:module'
import type nodeCron from 'node-cron'
import { ConfigError } from './config-error.ts'
import { parseValue } from './option-type.ts'

/** What a limit is for. Each peer, pool or image that the pattern fits has the limit for itself. */
export type BandwidthScope = 'daemon' | 'peer' | 'pool' | 'image'

export interface BandwidthRule {
  scope: BandwidthScope
  /** a name with `*` and `?`; of an image POOL/[NS/]IMAGE; '' for the daemon */
  pattern: string
  /** bytes per second; undefined lifts the limits that stand before it */
  rate: number | undefined
  /** Whether the rule holds in this minute; undefined: always. */
  during: ((minute: Date) => boolean) | undefined
  /** the rule as it was written */
  text: string
}

const MAX_RULES = 200
const scopes: readonly BandwidthScope[] = ['peer', 'pool', 'image']

/**
 * Reads `rbd_mirror_bandwidth_limits`: rules separated by commas, each `RATE [peer=…|pool=…|image=…] [during=[CRON]]`. RATE is bytes per
 * second (`50M`, `1G`) or `unlimited`; CRON is a pattern of five fields, and the rule holds in each minute that fits it, local time. Of
 * the rules for the same thing the last that holds counts.
 *
 * @throws ConfigError
 */
export function parseBandwidthRules(text: string): BandwidthRule[] {
  const rules = text
    .split(/,(?![^[]*\])/)
    .map((rule) => rule.trim())
    .filter((rule) => rule !== '')
    .map(parseRule)
  if (rules.length > MAX_RULES) throw new ConfigError(`more than ${MAX_RULES} bandwidth limits`)
  return rules
}

function parseRule(text: string): BandwidthRule {
  const fail = (problem: string): never => {
    throw new ConfigError(`"${text}" is no bandwidth limit: ${problem}`)
  }
  const [rateText = '', ...words] = text.match(/during=\[[^\]]*\]?|\S+/g) ?? []
  const parsed = /^unlimited$/i.test(rateText) ? undefined : parseValue('size', rateText)
  if (parsed && !parsed.ok) fail(`the rate ${parsed.problem}; it begins with a rate such as 50M (bytes per second) or unlimited`)
  const rate = parsed?.ok ? (parsed.value as number) : undefined
  if (rate === 0) fail('nothing would ever move; "unlimited" takes a limit away')
  const rule: BandwidthRule = { scope: 'daemon', pattern: '', rate, during: undefined, text }
  for (const word of words) {
    const [name, value = ''] = word.split(/=(.*)/s)
    if (name === 'during') {
      if (rule.during) fail('it has two windows')
      const cron = /^\[(.*)\]$/.exec(value)?.[1] ?? fail('the window is to be written as during=[* 8-18 * * 1-5]')
      rule.during = windowOf(cron, fail)
    } else if ((scopes as readonly string[]).includes(name!)) {
      if (rule.scope !== 'daemon') fail('it is for two things at once')
      if (value === '') fail(`which ${name}?`)
      rule.scope = name as BandwidthScope
      rule.pattern = value
    } else fail(`"${word}" is none of peer=, pool=, image=, during=[]`)
  }
  return rule
}


function windowOf(pattern: string, fail: (problem: string) => never): (minute: Date) => boolean {
  if (pattern.trim().split(/\s+/).length !== 5) fail(`the window "${pattern}" has not five fields (minute, hour, day, month, day of week)`)
  // Loaded only for who has windows: it would cost each start of the program as much as all other options together.
  const cron = createRequire(import.meta.url)('node-cron') as typeof nodeCron
  const { valid, errors } = cron.validateDetailed(pattern)
  if (!valid) fail(`the window "${pattern}": ${errors.map(({ message }) => message).join('; ')}`)
  const task = cron.createTask(pattern, () => undefined)
  // Only its pattern is wanted, and it is never started.
  void task.destroy()
  return (minute) => task.match(minute)
}
