import { expect, it } from 'vitest'
import type { IoCtx } from '../../rados/io-ctx.ts'
import { WriteOperation } from '../../rados/operation.ts'
import { writeInTurns } from './write-in-turns.ts'

async function turns(operation: WriteOperation): Promise<string[]> {
  const seen: string[] = []
  const write: IoCtx['write'] = (_, { steps }) => {
    seen.push(steps.map(({ type }) => type).join('+'))
    return Promise.resolve(1n)
  }
  await writeInTurns({ write } as IoCtx, 'object', operation)
  return seen
}

it.each([
  ['data', new WriteOperation().write(0, Buffer.of(1)).write(9, Buffer.of(1)), ['write+write']],
  ['a cut', new WriteOperation().truncate(5), ['truncate']],
  ['cuts and data', new WriteOperation().assertExists().truncate(50).zero(1, 2).write(9, Buffer.of(1)), ['assertExists+truncate', 'assertExists+zero', 'assertExists+write']],
  ['an empty object', new WriteOperation().create(false).truncate(0), ['create+truncate']],
])('writes %s in turns', async (_, operation, expected) => expect(await turns(operation)).toEqual(expected))
