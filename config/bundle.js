// Second step of the build: joins the compiled modules into a few files, for a daemon loads hundreds of small ones noticeably slower.
// What is imported dynamically stays apart, packages stay where they are.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
const programs = join(dist, 'cli')
const entryPoints = readdirSync(programs)
  .filter((name) => name.endsWith('.js'))
  .map((name) => join(programs, name))

const { outputFiles } = await build({
  entryPoints,
  outdir: programs,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  sourcemap: true,
  // Beside the programs: paths relative to a module hold for all of them.
  chunkNames: '[name]-[hash]',
  write: false,
  logLevel: 'warning',
})
// CommonJS only starts what is bundled here.
const starters = readdirSync(programs).filter((name) => /\.cjs(\.map)?$/.test(name))
const files = [
  ...outputFiles.map(({ path, contents }) => ({ name: basename(path), contents })),
  ...starters.map((name) => ({ name, contents: readFileSync(join(programs, name)) })),
]
rmSync(dist, { recursive: true })
mkdirSync(programs, { recursive: true })
for (const { name, contents } of files) {
  // A program may be called without naming node.
  writeFileSync(join(programs, name), contents, { mode: /^rbd[a-z-]*\.c?js$/.test(name) ? 0o755 : 0o644 })
}
