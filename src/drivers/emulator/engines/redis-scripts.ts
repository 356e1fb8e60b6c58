import { createHash } from 'node:crypto'

/*
 * What the Redis server executes: each script is atomic. Redis checks before a script's first write whether there is memory, whether it
 * is a replica and so on, and refuses none of the later ones: a script that has begun to write comes to its end.
 */

export interface Script {
  readonly source: string
  /** what the server's script cache calls it */
  readonly sha: string
}

const script = (...parts: string[]): Script => {
  const source = parts.join('\n')
  return { source, sha: createHash('sha1').update(source).digest('hex') }
}

/** Arguments of one call of a command: Lua's stack has room for some thousand values. */
const SLICE = 1000
/** Changes that are remembered for senders that did not say that they heard of them: looked through whenever there are this many more… */
const TOKENS = 1024
/** …and forgotten after this many milliseconds, much more than any sender goes on asking. */
const TOKEN_MS = 600_000
/** Messages that wait for one process; beyond them the oldest are dropped. */
const MAX_MAIL = 10_000

const FENCES = `
local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + now[2] / 1000
end
local function isFenced(fences, address)
  local limit = redis.call('HGET', fences, address)
  return limit and tonumber(limit) > milliseconds()
end
local function fencedReply() return redis.error_reply('FENCED this client is blocklisted') end
`

/** Arguments after the fixed ones are lists with their lengths before them. */
const LISTS = `
local function list()
  local from = at + 1
  local to = at + tonumber(ARGV[at])
  at = to + 1
  return from, to
end
local function each(command, key, from, to)
  for i = from, to, ${SLICE} do redis.call(command, key, unpack(ARGV, i, math.min(i + ${SLICE - 1}, to))) end
end
local function eachOf(command, key, values)
  for i = 1, #values, ${SLICE} do redis.call(command, key, unpack(values, i, math.min(i + ${SLICE - 1}, #values))) end
end
`

/** Changes whose senders may not hear of them, for these to ask again. */
const COMMITS = `
local function number(value) return string.format('%.0f', value) end
local function remember(commits, token, result)
  redis.call('HSET', commits, token, number(result) .. ' ' .. number(milliseconds()))
  if redis.call('HLEN', commits) % ${TOKENS} ~= 0 then return end
  local all, old = redis.call('HGETALL', commits), {}
  for i = 1, #all, 2 do
    if tonumber(string.match(all[i + 1], ' (%d+)')) < milliseconds() - ${TOKEN_MS} then old[#old + 1] = all[i] end
  end
  eachOf('HDEL', commits, old)
end
local function remembered(commits, token)
  local result = redis.call('HGET', commits, token)
  return result and tonumber(string.match(result, '^%d+'))
end
`

/**
 * KEYS fences, object, omap. ARGV address, revision (empty for any), then queries: `F`, list of fields; `P`, from, to, limit.
 * Answers nil for another revision, else revision, version, head and an answer for each query: the fields' values, or whether there is
 * more, the members and their values.
 */
export const READ = script(
  FENCES,
  `
if isFenced(KEYS[1], ARGV[1]) then return fencedReply() end
local answers
if ARGV[2] == '' then
  local state = redis.call('HMGET', KEYS[2], 'r', 'v', 'h')
  answers = { state[1] or '0', state[2] or '0', state[3] }
else
  if (redis.call('HGET', KEYS[2], 'r') or '0') ~= ARGV[2] then return false end
  answers = { ARGV[2], false, false }
end
local at = 3
`,
  LISTS,
  `
local function valuesOf(prefix, names, from, to)
  local values = {}
  for i = from, to, ${SLICE} do
    local fields = {}
    for j = i, math.min(i + ${SLICE - 1}, to) do fields[#fields + 1] = prefix .. names[j] end
    for _, value in ipairs(redis.call('HMGET', KEYS[2], unpack(fields))) do values[#values + 1] = value end
  end
  return values
end
while at <= #ARGV do
  local kind = ARGV[at]
  at = at + 1
  if kind == 'F' then
    local from, to = list()
    answers[#answers + 1] = valuesOf('', ARGV, from, to)
  else
    local limit = tonumber(ARGV[at + 2])
    local members = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[at], ARGV[at + 1], 'LIMIT', 0, limit + 1)
    at = at + 3
    local more = #members > limit and 1 or 0
    if more == 1 then members[#members] = nil end
    answers[#answers + 1] = { more, members, valuesOf('m', members, 1, #members) }
  end
end
return answers
`,
)

/**
 * KEYS meta, fences, index, objects, commits, object, omap. ARGV address, token, expected revision, whether the version grows, the head
 * (empty: the object goes), its name, whether the store grows; then the lists: tokens to forget, index entries to add and to remove,
 * chunks to delete, chunks and their bytes to put, omaps to copy; the number of omap changes, and for each: omap, whether it is cleared,
 * which of the copies it becomes first (0: none), list of keys to remove, list of keys and values to set. Answers the object's version, or nil for another revision.
 */
export const COMMIT = script(
  FENCES,
  'local at = 8',
  LISTS,
  COMMITS,
  `
local meta, fences, index, objects, commits, object, omap = unpack(KEYS)
local address, token, expected, bump, head, name, grows = unpack(ARGV, 1, 7)
if isFenced(fences, address) then return fencedReply() end
local done = remembered(commits, token)
if done then return done end
local state = redis.call('HMGET', object, 'r', 'v')
if (state[1] or '0') ~= expected then return false end

-- A full store still lets go: after a first write that frees memory Redis does not ask any more whether there is any.
if grows == '0' then redis.call('HDEL', commits, token) end
local counters = redis.call('HMGET', meta, 'version', 'revision')
-- No revision comes twice, also when a server that lost its last seconds counts on from an older one.
local revision = math.max(tonumber(counters[2] or '0') + 1, math.floor(milliseconds() * 1000))
redis.call('HSET', meta, 'revision', number(revision))
local version = tonumber(state[2] or '0')
if bump == '1' then
  version = tonumber(counters[1] or '0') + 1
  redis.call('HSET', meta, 'version', number(version))
end
each('HDEL', commits, list())
remember(commits, token, version)
local from, to = list()
for i = from, to do redis.call('ZADD', index, 0, ARGV[i]) end
each('ZREM', index, list())

if head == '' then
  redis.call('UNLINK', object, omap)
  redis.call('SREM', objects, name)
  return version
end
each('HDEL', object, list())
each('HSET', object, list())

local function addOmap(base, keys, values)
  local fields, members = {}, {}
  for i = 1, #keys do
    fields[#fields + 1] = 'm' .. base .. keys[i]
    fields[#fields + 1] = values[i]
    members[#members + 1] = 0
    members[#members + 1] = base .. keys[i]
  end
  eachOf('HSET', object, fields)
  eachOf('ZADD', omap, members)
end
local function removeOmap(base, keys)
  local fields, members = {}, {}
  for i = 1, #keys do
    fields[i] = 'm' .. base .. keys[i]
    members[i] = base .. keys[i]
  end
  eachOf('HDEL', object, fields)
  eachOf('ZREM', omap, members)
end
-- OMAP/ up to OMAP0: the character after the slash
local function keysOf(base)
  local keys = redis.call('ZRANGEBYLEX', omap, '[' .. base, '(' .. string.sub(base, 1, -2) .. '0')
  for i = 1, #keys do keys[i] = string.sub(keys[i], #base + 1) end
  return keys
end
local copies = {}
from, to = list()
for i = from, to do
  local keys, values = keysOf(ARGV[i]), {}
  for j = 1, #keys do values[j] = redis.call('HGET', object, 'm' .. ARGV[i] .. keys[j]) end
  copies[#copies + 1] = { keys, values }
end
local changes = tonumber(ARGV[at])
at = at + 1
for _ = 1, changes do
  local base, clear, copy = ARGV[at], ARGV[at + 1], copies[tonumber(ARGV[at + 2])]
  at = at + 3
  if copy or clear == '1' then removeOmap(base, keysOf(base)) end
  if copy and clear == '0' then addOmap(base, copy[1], copy[2]) end
  local keys, values = {}, {}
  from, to = list()
  for i = from, to do keys[#keys + 1] = ARGV[i] end
  removeOmap(base, keys)
  keys = {}
  from, to = list()
  for i = from, to, 2 do
    keys[#keys + 1] = ARGV[i]
    values[#values + 1] = ARGV[i + 1]
  end
  addOmap(base, keys, values)
end
redis.call('HSET', object, 'r', number(revision), 'v', number(version), 'h', head)
if not state[1] then redis.call('SADD', objects, name) end
return version
`,
)

/** KEYS fences, index. ARGV address, from, to, limit. Answers the members. */
export const SCAN = script(
  FENCES,
  `
if isFenced(KEYS[1], ARGV[1]) then return fencedReply() end
return redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
`,
)

/** KEYS fences. ARGV address, for how many milliseconds from now (none: no longer). */
export const FENCE = script(
  FENCES,
  `
redis.call('HDEL', KEYS[1], ARGV[1]) -- first, so that a full store shuts out as well
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) <= milliseconds() then redis.call('HDEL', KEYS[1], all[i]) end
end
if tonumber(ARGV[2]) > 0 then redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', milliseconds() + ARGV[2])) end
return 1
`,
)

/** KEYS values, names. ARGV from, to. Answers keys and values. */
export const TABLE_LIST = script(`
local entries = {}
for _, name in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2])) do
  entries[#entries + 1] = name
  entries[#entries + 1] = redis.call('HGET', KEYS[1], name)
end
return entries
`)

/**
 * KEYS values, names, commits. ARGV token, then lists: tokens to forget; expectations and changes, each a key, 1 or 0 for whether it is
 * there, and its value. Answers 1 or, when an expectation does not hold, 0.
 */
export const TABLE_COMMIT = script(
  FENCES,
  'local at = 2',
  LISTS,
  COMMITS,
  `
local values, names, commits = unpack(KEYS)
local token = ARGV[1]
if remembered(commits, token) then return 1 end
local oldFrom, oldTo = list()
local from, to = list()
for i = from, to, 3 do
  local value = redis.call('HGET', values, ARGV[i])
  if (value and '1' or '0') ~= ARGV[i + 1] or (value or '') ~= ARGV[i + 2] then return 0 end
end
redis.call('HDEL', commits, token) -- first, so that a full store lets sessions be opened that can delete something
each('HDEL', commits, oldFrom, oldTo)
from, to = list()
for i = from, to, 3 do
  if ARGV[i + 1] == '1' then
    redis.call('HSET', values, ARGV[i], ARGV[i + 2])
    redis.call('ZADD', names, 0, ARGV[i])
  else
    redis.call('HDEL', values, ARGV[i])
    redis.call('ZREM', names, ARGV[i])
  end
end
remember(commits, token, 1)
return 1
`,
)

/** KEYS alive, mail. ARGV channel, message, milliseconds for which it is kept. Answers 0 when that process has ended. */
export const DELIVER = script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('LTRIM', KEYS[2], -${MAX_MAIL - 1}, -1) -- first, so that messages pass also when the store is full
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[1], '')
return 1
`)

/** KEYS mail. ARGV the first bytes of messages that have been read, in order: they go, once, however often this runs. */
export const DISCARD = script(`
for _, start in ipairs(ARGV) do
  local message = redis.call('LINDEX', KEYS[1], 0)
  if message and string.sub(message, 1, #start) == start then redis.call('LPOP', KEYS[1]) end
end
return 1
`)
