// Second step of the build: joins the compiled modules into a few files, for a daemon loads hundreds of small ones noticeably slower.
// What is imported dynamically stays apart, packages stay where they are.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath, URL } from 'node:url'
import { build } from 'esbuild'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const compiled = path('../node_modules/.cache/compiled/cli')
const target = path('../dist/cli')

const sources = readdirSync(path('../src/cli'))
const programs = sources.filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts')).map((name) => name.replace(/ts$/, 'js'))
// CommonJS that only starts what is bundled here.
const starters = sources.filter((name) => name.endsWith('.cts')).map((name) => name.replace(/cts$/, 'cjs'))

const { outputFiles } = await build({
  entryPoints: programs.map((name) => join(compiled, name)),
  outdir: target,
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
const files = [
  ...outputFiles.map(({ path: file, contents }) => ({ name: basename(file), contents })),
  ...starters.flatMap((name) => [name, `${name}.map`]).map((name) => ({ name, contents: readFileSync(join(compiled, name)) })),
]
rmSync(path('../dist'), { recursive: true, force: true })
mkdirSync(target, { recursive: true })
for (const { name, contents } of files) {
  // A program may be called without naming node.
  writeFileSync(join(target, name), contents, { mode: /^rbd[a-z-]*\.c?js$/.test(name) ? 0o755 : 0o644 })
}
// What modules read at run time lies beside them here as in src.
cpSync(path('../src/observability/page'), join(target, 'page'), { recursive: true })
