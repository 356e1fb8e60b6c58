/** What is wrong with the configuration, in one line for the operator: what, where, and what to do. */
export class ConfigError extends Error {
  /**
   * @param problem what is wrong
   * @param where file and line, environment variable or argument
   */
  constructor(
    problem: string,
    readonly where?: string,
    options?: ErrorOptions,
  ) {
    super(where === undefined ? problem : `${where}: ${problem}`, options)
    this.name = 'ConfigError'
  }
}

/** A command line that can't be understood: the program ends with status 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}
