import { expect, it } from 'vitest'
import { formatToken, parseToken } from './bootstrap-token.ts'

const token = { fsid: '9e1f1a44-0000-4000-8000-000000000001', clientId: 'rbd-mirror-peer', key: 'AQAA==', monHost: '[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]' }

it('is JSON in base64', () => {
  expect(Buffer.from(formatToken(token), 'base64').toString()).toBe(
    '{"fsid":"9e1f1a44-0000-4000-8000-000000000001","client_id":"rbd-mirror-peer","key":"AQAA==","mon_host":"[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"}',
  )
})

it('comes back whatever blanks a terminal puts into it', () => {
  const text = formatToken({ ...token, monHost: 'a "quoted" host' })
  expect(parseToken(text)).toEqual({ type: 'token', token: { ...token, monHost: 'a "quoted" host' } })
  expect(parseToken(` \t${text.slice(0, 20)}\r\n${text.slice(20)}\n\n`)).toMatchObject({ type: 'token' })
})

const base64 = (text: string) => Buffer.from(text).toString('base64')

it.each(['', 'garbage!!', 'abc', '===='.repeat(3), `${formatToken(token).slice(0, -1)}`])('refuses what is no base64: %j', (text) => {
  expect(parseToken(text)).toEqual({ type: 'malformed', reason: 'failed to decode base64' })
})

it.each(['{}', 'null', '"x"', '{', JSON.stringify({ fsid: 'x', client_id: 'y', key: 1, mon_host: 'z' })])('refuses what is no token: %j', (text) => {
  expect(parseToken(base64(text))).toEqual({ type: 'malformed', reason: 'invalid bootstrap token JSON received' })
})
