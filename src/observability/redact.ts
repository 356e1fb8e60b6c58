/** A CephX key in base64: type 1, creation time, length 16, secret. */
const cephxKey = /AQ[A-D][A-Za-z0-9+/]{35}==/g
/** `scheme://user:password@host` */
const urlPassword = /(\b[a-z]+:\/\/[^\s:/@"]*):[^\s/@"]+@/gi

/** Takes keys and passwords out of a text that goes to a log, an error message or a status. */
export function redact(text: string): string {
  let clean = text
  if (clean.includes('==')) clean = clean.replace(cephxKey, '[redacted]')
  if (clean.includes('@')) clean = clean.replace(urlPassword, '$1:[redacted]@')
  return clean
}
