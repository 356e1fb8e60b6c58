/** How an option's text becomes its value; undefined for text that is no value of it. */
export type Parse<T> = (text: string) => T | undefined

/** An option of one command, e.g. `--pool` (short `-p`). */
export interface OptionSpec {
  /** long name without dashes */
  name: string
  /** one letter without dash */
  short?: string
  /** In help: lines may be broken by \n. */
  description: string
  /** What stands for its value in the list of options; `arg` without it. */
  argument?: string
  /** Takes no value. */
  flag?: boolean
  /** Shown without brackets; the command itself complains when it is missing. */
  required?: boolean
  /** May be given several times. */
  repeatable?: boolean
  /** What the value must be; any text without it. */
  parse?: Parse<unknown>
  /** The complaint about a wrong value repeats it, as boost's own does. */
  echoed?: boolean
  /** Shown to be out of use, in favour of this option. */
  deprecated?: string
}

/** An argument by position; all of them are optional for the parser, since most can be given as options too. */
export interface PositionalSpec {
  name: string
  description: string
  /** only for help: in brackets */
  optional?: boolean
  /** The last one may stand any number of times. */
  repeatable?: boolean
}

export interface Arguments {
  positional: readonly PositionalSpec[]
  options: readonly OptionSpec[]
}
