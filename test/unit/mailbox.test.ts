import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Mailbox } from '../../src/drivers/emulator/engines/mailbox.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rbd-mirror-mailbox-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

it('delivers messages in the order in which one sender sent them, and tells when nobody listens any more', async () => {
  const [sender, receiver] = [await Mailbox.open(folder), await Mailbox.open(folder)]
  const received: string[] = []
  const last = new Promise<void>((resolve) => receiver.receive((message) => void (received.push(message.toString()) === 100 && resolve())))
  const messages = Array.from({ length: 100 }, (_, index) => `message ${index}`)
  for (const message of messages) expect(await sender.send(receiver.endpoint, Buffer.from(message))).toBe(true)
  await last
  expect(received).toEqual(messages)
  await receiver.close()
  expect(await sender.isGone(receiver.endpoint)).toBe(true)
  await sender.close()
})

it('closes while somebody connects', async () => {
  const peer = await Mailbox.open(folder)
  peer.receive(() => undefined)
  for (let round = 0; round < 50; round++) {
    const mailbox = await Mailbox.open(folder)
    // a connection of its own keeps it busy while it closes
    void mailbox.send(peer.endpoint, Buffer.from('hello'))
    const sent = Array.from({ length: round % 4 }, () => 0).reduce<Promise<unknown>>((before) => before.then(() => undefined), Promise.resolve())
    const closing = mailbox.close()
    void sent.then(() => peer.send(mailbox.endpoint, Buffer.from('are you there?')))
    await closing
  }
  await peer.close()
})
