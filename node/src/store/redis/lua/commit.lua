-- One change of one task, whole or not at all: everything that can be refused is refused before the first write.
-- KEYS: task, events, unfinished, finished, held by this replica, list of the task's owner and agent, webhooks, due,
-- waiting
-- ARGV: id, fence expected, fence of the hold (empty: no hold), replica, whether the hold goes on,
--       owner, agent, context, state, terminal, updated, places in lists, channel,
--       number of events, number of webhooks, most webhooks,
--       (seq, body) for each event, (id, delivered, done, config) for a webhook, [snapshot's seq, head, rest]
-- Gives 0: kept, 1: a first change without a snapshot, 2: somebody else holds the task, 3: an event is there already
local known = redis.call('HMGET', KEYS[1], 'fence', 'holder', 'last', 'terminal', 'places', 'list', 'state')
local fence, holder, last = known[1] or '', known[2], tonumber(known[3])
local hold = ARGV[3]
local events = tonumber(ARGV[14])
local first, webhook = 17, 17 + 2 * events
local snapshot = webhook + 4 * ARGV[15]

if not last then
  if not ARGV[snapshot] then return 1 end
  if ARGV[2] ~= '' then return 2 end
  last = 0
elseif hold == '' then
  if holder then return 2 end
  if events > 0 and tonumber(ARGV[first]) <= last then return 3 end
elseif fence ~= hold and (holder or fence ~= ARGV[2]) then
  return 2
end

-- Events that are there were kept by an earlier try under this very hold, whose answer was lost.
local newest = last
for at = first, webhook - 1, 2 do
  local seq = tonumber(ARGV[at])
  if seq > last then
    redis.call('XADD', KEYS[2], ARGV[at] .. '-0', 'b', ARGV[at + 1])
    newest = seq
  end
end

local fields = {
  'owner', ARGV[6], 'agent', ARGV[7], 'context', ARGV[8], 'state', ARGV[9], 'terminal', ARGV[10], 'updated', ARGV[11],
  'last', string.format('%.0f', newest), 'places', ARGV[12], 'list', KEYS[6],
}
if ARGV[snapshot] then
  for _, field in ipairs({'seq', ARGV[snapshot], 'head', ARGV[snapshot + 1], 'rest', ARGV[snapshot + 2]}) do
    fields[#fields + 1] = field
  end
end
if hold ~= '' then
  fields[#fields + 1] = 'fence'
  fields[#fields + 1] = hold
end
if ARGV[5] == '1' then
  fields[#fields + 1] = 'holder'
  fields[#fields + 1] = ARGV[4]
  redis.call('SADD', KEYS[5], ARGV[1])
elseif holder then
  redis.call('HDEL', KEYS[1], 'holder')
  redis.call('SREM', KEYS[5], ARGV[1])
end
redis.call('HSET', KEYS[1], unpack(fields))

if ARGV[10] == '1' then
  redis.call('ZADD', KEYS[4], ARGV[11], ARGV[1])
  if known[4] == '0' then redis.call('ZREM', KEYS[3], ARGV[1]) end
elseif known[4] ~= '0' then
  redis.call('ZADD', KEYS[3], 0, ARGV[1])
  if known[4] then redis.call('ZREM', KEYS[4], ARGV[1]) end
end

if ARGV[9] == '6' or ARGV[9] == '8' then
  redis.call('ZADD', KEYS[9], ARGV[11], ARGV[1])
elseif known[7] == '6' or known[7] == '8' then
  redis.call('ZREM', KEYS[9], ARGV[1])
end

-- A task stands at four places in the list of its owner and agent; see `places` in keys.rs for their lengths.
local function places(text)
  return string.sub(text, 1, 25), string.sub(text, 26, 51), string.sub(text, 52, 84), string.sub(text, 85)
end
if known[5] ~= ARGV[12] or known[6] ~= KEYS[6] then
  if known[5] then redis.call('ZREM', known[6], places(known[5])) end
  local all, state, context, both = places(ARGV[12])
  redis.call('ZADD', KEYS[6], 0, all, 0, state, 0, context, 0, both)
end

if webhook < snapshot then
  keep_webhook(KEYS[7], KEYS[8], ARGV[1],
    ARGV[webhook], ARGV[webhook + 1], ARGV[webhook + 2], ARGV[webhook + 3], ARGV[16], true)
end

if newest > last then
  redis.call('PUBLISH', ARGV[13], string.format('%.0f', newest))
end
return 0
