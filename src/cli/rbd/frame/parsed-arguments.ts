import type { OptionSpec } from './option-spec.ts'

/** What the command line says, behind the words of the command. */
export class ParsedArguments {
  private next = 0

  constructor(
    readonly positional: readonly string[],
    private readonly values: ReadonlyMap<string, unknown>,
    /** given options that are out of use */
    readonly deprecated: readonly OptionSpec[],
  ) {}

  has(option: string): boolean {
    return this.values.has(option)
  }

  flag(option: string): boolean {
    return this.values.get(option) === true
  }

  text(option: string): string | undefined {
    return this.values.get(option) as string | undefined
  }

  /** The parsed value of an option with `parse`. */
  value<T>(option: string): T | undefined {
    return this.values.get(option) as T | undefined
  }

  /** All values of a repeatable option. */
  all<T = string>(option: string): readonly T[] {
    return (this.values.get(option) as T[] | undefined) ?? []
  }

  /** The next positional argument that nobody has taken yet; '' when there is none. */
  take(): string {
    return this.positional[this.next++] ?? ''
  }

  /** The next positional argument without taking it. */
  peek(): string {
    return this.positional[this.next] ?? ''
  }

  /** All that are left. */
  takeRest(): string[] {
    const rest = this.positional.slice(this.next)
    this.next = this.positional.length
    return rest
  }
}
