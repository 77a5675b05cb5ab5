-- Counting calls. A window is a sorted set of calls by their time, as Hive and Pilox have it, but for what was denied,
-- which is not in it. A steady limit is GCRA, as in archipel_kit::admission.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

-- How long a call must wait for a bucket, if it must, and else, for a steady limit, the bucket's new state.
local function wait_for(key, kind, first, second)
  if kind == 'window' then
    redis.call('ZREMRANGEBYSCORE', key, 0, now_ms - second)
    if redis.call('ZCARD', key) < first then return nil end
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    return math.max(1000, oldest + second - now_ms)
  end
  local full_at = tonumber(redis.call('GET', key) or now_us)
  if full_at < now_us then full_at = now_us end
  -- A state that lies further ahead than it can is that of a clock which was set back.
  if full_at > now_us + second then full_at = now_us + second end
  local ahead = full_at + first - now_us
  if ahead > second then return math.ceil((ahead - second) / 1000) end
  return nil, full_at + first
end

-- Counts one call in every bucket, or in none. From `KEYS[key]` on: the buckets, then, where a reputation counts, how
-- often it was refused and how often it called badly. From `ARGV[arg]` on: how many buckets; from how many bad calls on a
-- caller is blocked (0: never; -1: it has no reputation); then for each bucket `window`, calls and milliseconds, or
-- `steady`, microseconds between two calls and how far ahead. `nonce` is something that no other call has.
-- Gives {0}: counted; {1, bucket, milliseconds until it may be tried again}; {2}: blocked
local function admit(key, arg, nonce)
  local count, block_at = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local refused, bad
  if block_at >= 0 then refused, bad = KEYS[key + count], KEYS[key + count + 1] end
  local states = {}
  for bucket = 1, count do
    local rule = arg - 1 + bucket * 3
    local first, second = tonumber(ARGV[rule + 1]), tonumber(ARGV[rule + 2])
    local wait, state = wait_for(KEYS[key - 1 + bucket], ARGV[rule], first, second)
    if wait then
      if refused and bucket == count then
        redis.call('INCR', refused)
        redis.call('EXPIRE', refused, 2592000)
      end
      return { 1, bucket, wait }
    end
    states[bucket] = state
  end

  if refused and block_at > 0 then
    local so_far = (tonumber(redis.call('GET', refused) or 0) or 0) + (tonumber(redis.call('GET', bad) or 0) or 0)
    if so_far >= block_at then return { 2 } end
  end

  for bucket = 1, count do
    local name = KEYS[key - 1 + bucket]
    if states[bucket] then
      local left = math.ceil((states[bucket] - now_us) / 1000) + 1
      redis.call('SET', name, string.format('%.0f', states[bucket]), 'PX', left)
    else
      redis.call('ZADD', name, now_ms, now_ms .. ':' .. nonce)
      redis.call('PEXPIRE', name, ARGV[arg + 1 + bucket * 3])
    end
  end
  return { 0 }
end
