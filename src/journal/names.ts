/* Object names of a journal (Journaler.cc); an image's journal has the image's id. */

export function journalHeaderName(journalId: string): string {
  return `journal.${journalId}`
}

/** `headerPoolId` is the pool of the header, also when the data lies in another one. */
export function journalDataPrefix(headerPoolId: bigint, journalId: string): string {
  return `journal_data.${headerPoolId}.${journalId}.`
}

export function journalDataName(prefix: string, objectNumber: number): string {
  return `${prefix}${objectNumber}`
}
