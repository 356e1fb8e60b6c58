import { expect, it } from 'vitest'
import { AdminRegistry } from './admin-registry.ts'
import { registerBuiltinCommands } from './builtin-commands.ts'

it('the log commands of every Ceph daemon answer an empty object, and the log is reopened once', async () => {
  const registry = new AdminRegistry()
  let reopened = 0
  registerBuiltinCommands(registry, { reopenLog: () => void reopened++ })
  for (const prefix of ['log dump', 'log flush', 'log reopen']) {
    expect(Object.keys(registry.help())).toContain(prefix)
    expect(JSON.parse(await registry.execute(JSON.stringify({ prefix })))).toEqual({})
  }
  expect(reopened).toBe(1)
})
