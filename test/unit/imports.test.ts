import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

/**
 * The house's layers: what a folder of src may import, besides itself. A folder that is not here is an error, so that a new one
 * gets its place on purpose. `drivers` never see `cls`: the composition root hands the object classes in.
 */
const LAYERS: Record<string, readonly string[]> = {
  base: [],
  encoding: ['base'],
  rados: ['encoding', 'base'],
  objclass: ['rados', 'encoding', 'base'],
  cls: ['objclass', 'rados', 'encoding', 'base'],
  drivers: ['objclass', 'rados', 'encoding', 'base'],
  journal: ['cls', 'rados', 'encoding', 'base'],
  rbd: ['journal', 'cls', 'rados', 'encoding', 'base'],
  config: ['base'],
  observability: ['config', 'rados', 'encoding', 'base'],
  mirror: ['rbd', 'journal', 'cls', 'rados', 'encoding', 'observability', 'config', 'base'],
  daemon: ['mirror', 'rbd', 'journal', 'cls', 'drivers', 'objclass', 'rados', 'encoding', 'observability', 'config', 'base'],
  cli: ['daemon', 'rbd', 'journal', 'cls', 'drivers', 'objclass', 'rados', 'encoding', 'observability', 'config', 'base'],
}

/** Packages that only these places may import. */
const PACKAGE_PLACES: Record<string, RegExp> = {
  koffi: /^(drivers\/librados\/|daemon\/[\w-]*notify[\w-]*\.ts$)/,
}

const SRC = fileURLToPath(new URL('../../src', import.meta.url))

interface Import {
  readonly file: string
  readonly module: string
  /** The top folder of src it leads to, for imports within src. */
  readonly layer: string | undefined
}

const files = (readdirSync(SRC, { recursive: true }) as string[])
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))

function importsOf(file: string, text: string): Import[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName: module }) => {
    if (!module.startsWith('.')) return { file, module, layer: undefined }
    const target = relative(SRC, resolve(SRC, dirname(file), module)).split(sep)
    return { file, module, layer: target[0] === '..' ? 'outside src' : target[0] }
  })
}

function violations(imports: readonly Import[]): string[] {
  return imports.flatMap(({ file, module, layer }) => {
    const from = file.split('/')[0] ?? ''
    if (layer === undefined) {
      const places = PACKAGE_PLACES[module]
      return places && !places.test(file) ? [`${file} imports ${module}: its place is ${places.source}`] : []
    }
    const allowed = LAYERS[from]
    if (!allowed) return [`${file}: the folder ${from} has no place in the table of layers`]
    return layer === from || allowed.includes(layer) ? [] : [`${file} imports ${module}: ${from} may not see ${layer}`]
  })
}

describe('the layers of src', () => {
  const texts = files.map((file) => ({ file, text: readFileSync(join(SRC, file), 'utf8') }))

  it('import downward only', () => {
    expect(texts.length).toBeGreaterThan(10)
    expect(texts.flatMap(({ file, text }) => violations(importsOf(file, text)))).toEqual([])
  })

  it('name modules with their .ts extension', () => {
    const bare = texts.flatMap(({ file, text }) =>
      importsOf(file, text).filter(({ module, layer }) => layer !== undefined && !module.endsWith('.ts')),
    )
    expect(bare).toEqual([])
  })

  it('have no barrels', () => {
    const barrels = texts.filter(({ file, text }) => {
      if (/(^|\/)index\.ts$/.test(file)) return true
      const { statements } = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
      const reexports = statements.filter((statement) => ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined)
      return reexports.some((statement) => !(statement as ts.ExportDeclaration).exportClause) || (reexports.length > 1 && reexports.length === statements.length)
    })
    expect(barrels.map(({ file }) => file)).toEqual([])
  })

  it('are judged by a check that sees what is wrong', () => {
    const judge = (file: string, text: string) => violations(importsOf(file, text))
    expect(judge('rados/a.ts', "import type { B } from '../mirror/b.ts'")).toHaveLength(1)
    expect(judge('drivers/emulator/a.ts', "const b = await import('../../cls/rbd/client.ts')")).toHaveLength(1)
    expect(judge('cli/a.ts', "import { b } from '../mirror/b.ts'")).toHaveLength(1)
    expect(judge('rbd/a.ts', "import koffi from 'koffi'")).toHaveLength(1)
    expect(judge('rbd/a.ts', "import { b } from '../../test/support/run.ts'")).toHaveLength(1)
    expect(judge('novel/a.ts', "import { b } from '../base/b.ts'")).toHaveLength(1)
    expect(judge('mirror/snapshot/a.ts', "import { b } from '../../rbd/b.ts'\nimport { c } from '../c.ts'")).toEqual([])
    expect(judge('drivers/librados/a.ts', "import koffi from 'koffi'")).toEqual([])
  })
})
