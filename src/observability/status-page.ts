import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

/** The status page in one piece, and the policy that lets nothing else run in it. */
export interface StatusPage {
  html: string
  policy: string
}

/** Put together from the files in `page/`, which lie beside this module (the build takes them along). */
export function readStatusPage(): StatusPage {
  const read = (name: string) => readFileSync(new URL(`./page/${name}`, import.meta.url), 'utf8')
  const style = read('page.css')
  const script = read('page.js')
  const html = read('page.html')
    .replace('/*STYLE*/', () => style)
    .replace('/*SCRIPT*/', () => script)
  const policy = [
    "default-src 'none'",
    `style-src '${sha256(style)}'`,
    `script-src '${sha256(script)}'`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return { html, policy }
}

function sha256(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
