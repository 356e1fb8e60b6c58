/** What a command was asked with, besides its words: the JSON object of the request. */
export type AdminArguments = Readonly<Record<string, unknown>>

/** One command of the admin socket, e.g. `rbd mirror status POOL/IMAGE`: every word is a literal. */
export interface AdminCommand {
  /**
   * The words an operator types, in order. A word of the form `name=NAME,type=CephString[,…]` describes an argument instead, as in
   * Ceph's command descriptions (mon/MonCommands.h).
   */
  words: readonly string[]
  help: string
  /**
   * Its answer: an object or array is printed as JSON, a string as it is, undefined as nothing. An error that it throws is told to the
   * operator by its message.
   */
  run(args: AdminArguments): unknown
}

/** Where the parts of the daemon offer commands while they live. */
export interface AdminCommands {
  /** Returns the function that takes the command away again. Of several with the same words the newest answers. */
  register(command: AdminCommand): () => void
}

/** For tests, and for a daemon without an admin socket. */
export const noAdminCommands: AdminCommands = { register: () => () => undefined }
