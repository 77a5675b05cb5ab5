-- Counts one call in every bucket, or in none.
-- KEYS: the buckets, then, where a reputation counts, how often it was refused and how often it called badly
-- ARGV: how many buckets, something that nobody else has, from how many bad calls on a caller is blocked (0: never), then
-- for each bucket `window`, calls and milliseconds, or `steady`, microseconds between two calls and how far ahead
-- Gives {0}: counted; {1, bucket, milliseconds until it may be tried again}; {2}: blocked
--
-- A window is a sorted set of calls by their time, as Hive and Pilox have it, but for what was denied, which is not in
-- it. A steady limit is GCRA, as in archipel_kit::admission.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local count = tonumber(ARGV[1])
local block_at = tonumber(ARGV[3])
local refused, bad = KEYS[count + 1], KEYS[count + 2]
local states = {}

local function wait_for(bucket)
  local key, kind = KEYS[bucket], ARGV[bucket * 3 + 1]
  local first, second = tonumber(ARGV[bucket * 3 + 2]), tonumber(ARGV[bucket * 3 + 3])
  if kind == 'window' then
    redis.call('ZREMRANGEBYSCORE', key, 0, now - second)
    if redis.call('ZCARD', key) < first then return nil end
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    return math.max(1000, oldest + second - now)
  end
  local full_at = tonumber(redis.call('GET', key) or now_us)
  if full_at < now_us then full_at = now_us end
  -- A state that lies further ahead than it can is that of a clock which was set back.
  if full_at > now_us + second then full_at = now_us + second end
  local ahead = full_at + first - now_us
  if ahead > second then return math.ceil((ahead - second) / 1000) end
  states[bucket] = full_at + first
  return nil
end

for bucket = 1, count do
  local wait = wait_for(bucket)
  if wait then
    if refused and bucket == count then
      redis.call('INCR', refused)
      redis.call('EXPIRE', refused, 2592000)
    end
    return { 1, bucket, wait }
  end
end

if refused and block_at > 0 then
  local so_far = (tonumber(redis.call('GET', refused) or 0) or 0) + (tonumber(redis.call('GET', bad) or 0) or 0)
  if so_far >= block_at then return { 2 } end
end

for bucket = 1, count do
  local key = KEYS[bucket]
  if states[bucket] then
    local left = math.ceil((states[bucket] - now_us) / 1000) + 1
    redis.call('SET', key, string.format('%.0f', states[bucket]), 'PX', left)
  else
    redis.call('ZADD', key, now, now .. ':' .. ARGV[2])
    redis.call('PEXPIRE', key, ARGV[bucket * 3 + 3])
  end
end
return { 0 }
