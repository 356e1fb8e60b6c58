/** Bytes from outside (a cluster, a token, a file) that can't be what they should be. Never an assertion: it is told to the operator. */
export class MalformedInput extends Error {
  /**
   * @param what which value of which object could not be read
   * @param detail what is wrong with it
   */
  constructor(
    readonly what: string,
    readonly detail: string,
    options?: ErrorOptions,
  ) {
    super(`malformed ${what}: ${detail}`, options)
    this.name = 'MalformedInput'
  }
}
