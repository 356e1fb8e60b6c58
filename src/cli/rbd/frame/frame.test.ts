import { describe, expect, it } from 'vitest'
import type { Command } from './command.ts'
import { imageSpec, poolSpec, together } from './common-options.ts'
import { createFormatter } from './formatter.ts'
import { commandHelp, overallHelp } from './help.ts'
import { commandWords, findCommand, parseArguments, type Match } from './parse-arguments.ts'
import { percentage, Progress } from './progress.ts'
import { TextTable } from './text-table.ts'

const show: Command = {
  path: ['thing', 'show'],
  alias: ['thing', 'sh'],
  description: 'Show a thing.',
  arguments: together(imageSpec(), [
    { name: 'force', flag: true, description: 'even so' },
    { name: 'all', short: 'a', flag: true, description: 'all of it' },
    { name: 'count', description: 'how many', parse: (text) => (/^\d+$/.test(text) ? Number(text) : undefined) },
    { name: 'tag', repeatable: true, description: 'a tag' },
    { name: 'old', description: '', deprecated: 'count' },
  ]),
  execute: () => Promise.resolve(),
}
const sized: Command = { ...show, path: ['size'], alias: [], arguments: { positional: [], options: [{ name: 'size', short: 's', required: true, description: 'bytes' }] } }
const longer: Command = { ...show, path: ['thing', 'show', 'more'], alias: [] }
const commands = [show, sized, longer].map(({ alias, ...rest }) => (alias?.length ? { ...rest, alias } : rest))

function parse(...args: string[]) {
  const match = findCommand(commandWords(args, commands), commands)
  if (!match) throw new Error('no command')
  return parseArguments(args, match)
}

describe('the words of a command', () => {
  it.each([
    [['thing', 'show', 'x'], ['thing', 'show', 'x']],
    [['--pool', 'p', 'thing', 'show'], ['thing', 'show']],
    [['--pool=p', 'thing', '--force', 'show'], ['thing', 'show']],
    [['-a', 'thing', '-p', 'x', 'show'], ['thing', 'show']],
    [['thing', '--', '-x'], ['thing', '-x']],
    [['thing', 'show', '--help'], ['help']],
    [['-h'], ['help']],
  ])('%j', (args, words) => expect(commandWords(args, commands)).toEqual(words))

  it('find the longest path, or an alias', () => {
    expect(findCommand(['thing', 'show', 'more'], commands)?.path).toEqual(['thing', 'show', 'more'])
    expect(findCommand(['thing', 'show', 'x'], commands)?.path).toEqual(['thing', 'show'])
    expect(findCommand(['thing', 'sh'], commands)).toMatchObject({ isAlias: true, path: ['thing', 'sh'] })
    expect(findCommand(['thing'], commands)).toBeUndefined()
  })
})

describe('arguments', () => {
  it('come in any form and order', () => {
    const args = parse('thing', '--count=3', 'show', '--image', 'i', '-a', '--tag', 'one', '--tag', 'two', 'spec', '-px')
    expect([args.text('pool'), args.text('image'), args.value('count'), args.flag('all'), args.flag('force')]).toEqual(['x', 'i', 3, true, false])
    expect(args.all('tag')).toEqual(['one', 'two'])
    expect([args.peek(), args.take(), args.take()]).toEqual(['spec', 'spec', ''])
  })
  it('after -- are no options', () => expect(parse('thing', 'show', '--', '--force').take()).toBe('--force'))
  it('remember what is out of use', () => expect(parse('thing', 'show', '--old', '1').deprecated.map(({ name }) => name)).toEqual(['old']))
  it.each<[string[], string]>([
    [['thing', 'show', 'a', 'b'], 'too many arguments'],
    [['thing', 'show', '--what'], "unrecognised option '--what'"],
    [['thing', 'show', '--what=1'], "unrecognised option '--what=1'"],
    [['thing', 'show', '-x'], "unrecognised option '-x'"],
    [['thing', 'show', '--pool'], "the required argument for option '--pool' is missing"],
    [['thing', 'show', '--pool='], "the argument for option '--pool' should follow immediately after the equal sign"],
    [['thing', 'show', '--count', 'x'], "the argument for option '--count' is invalid"],
    [['thing', 'show', '--force=1'], "option '--force' does not take any arguments"],
    [['thing', 'show', '--pool', 'a', '-p', 'b'], "option '--pool' cannot be specified more than once"],
  ])('%j: %s', (args, complaint) => expect(() => parse(...args)).toThrow(complaint))
})

describe('help', () => {
  const help = (command: Command): string => commandHelp({ command, path: command.path, isAlias: false } satisfies Match)
  it('of a command breaks its lines', () => {
    expect(help({ ...show, arguments: together(poolSpec(true), [{ name: 'a-rather-long-option', description: 'words '.repeat(15).trim() }]) })).toBe(
      [
        'usage: rbd thing show [--pool <pool>] [--namespace <namespace>] ',
        '                      [--a-rather-long-option <a-rather-long-option>] ',
        '                      <pool-spec> ',
        '',
        'Show a thing.',
        '',
        'Positional arguments',
        '  <pool-spec>                pool specification',
        '                             (example: <pool-name>[/<namespace>]',
        '',
        'Optional arguments',
        '  -p [ --pool ] arg          pool name',
        '  --namespace arg            namespace name',
        '  --a-rather-long-option arg words words words words words words words words',
        '                             words words words words words words words',
        '',
        '',
      ].join('\n'),
    )
  })
  it('of all commands names their aliases', () => {
    const text = overallHelp(commands)
    expect(text).toContain('    size                   Show a thing.\n    thing show (... sh)'.slice(0, 8))
    expect(text).toMatch(/^ {4}size .*\n {4}thing show \(thing sh\) .*\n {4}thing show more /m)
  })
})

describe('documents', () => {
  const build = (format: 'json' | 'xml', pretty: boolean) => {
    const formatter = createFormatter(format, pretty)
    formatter.openObject('root').string('text', 'a"b\\c\n<&\'>\u0001é').number('big', 2n ** 63n).bool('yes', true).literal('part', '0.50')
    formatter.openArray('none').close().openArray('items').openObject('item').string('x', '').close().string('item', 'y').close()
    return formatter.close().toString()
  }
  it('in compact JSON', () =>
    expect(build('json', false)).toBe(
      '{"text":"a\\"b\\\\c\\n<&\'>\\u0001é","big":9223372036854775808,"yes":true,"part":0.50,"none":[],"items":[{"x":""},"y"]}\n',
    ))
  it('in pretty JSON, as JSON.stringify has it', () => {
    const text = build('json', true)
    expect(text.endsWith('}\n')).toBe(true)
    expect(text).toContain('\n    "none": [],\n    "items": [\n        {\n            "x": ""\n        },\n        "y"\n    ]\n}')
  })
  it('in XML', () => {
    expect(build('xml', false)).toBe(
      '<root><text>a&quot;b\\c\n&lt;&amp;&apos;&gt;&#x01;é</text><big>9223372036854775808</big><yes>true</yes><part>0.50</part><none></none><items><item><x></x></item><item>y</item></items></root>\n',
    )
    expect(build('xml', true)).toContain('<root>\n <text>')
    expect(build('xml', true)).toContain(' <none>\n </none>\n <items>\n  <item>\n   <x></x>\n  </item>\n  <item>y</item>\n </items>\n</root>\n\n')
  })
})

it('tables are as wide as their widest cell, in bytes', () => {
  const table = new TextTable([{ heading: 'NAME', align: 'left' }, { heading: 'N', align: 'right' }])
  table.add('é', 12)
  table.add('longer', 3n)
  expect(table.toString()).toBe('NAME    N \né      12\nlonger   3\n')
})

it('progress is told when it changes', () => {
  const told: string[] = []
  const terminal = { err: (text: string) => void told.push(text) } as unknown as ConstructorParameters<typeof Progress>[0]
  const progress = new Progress(terminal, 'Doing', true)
  for (const done of [0, 1, 1, 2, 3]) progress.update(done, 300)
  progress.update(150n, 300n)
  progress.fail()
  expect(told.join('')).toBe('\rDoing: 1% complete...\rDoing: 50% complete...\rDoing: 50% complete...failed.\n')
  expect([percentage(1, 3), percentage(0, 0), percentage(5n, 5n)]).toEqual([33, 0, 100])
})
