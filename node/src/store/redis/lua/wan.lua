-- How envelopes wait, for the scripts below. Of each row a hash `row:N`; `waiting`: rows by when they came; `due`: those that
-- are the first of their lanes, by when they may be taken in hand; `lane:L`: the rows of a lane that wait; `settled` and
-- `dead`: rows that do not. All names begin with KEYS[1].
local base = KEYS[1]

-- A row waits from now on; whether it is the first of its lane.
local function wan_wait(number, lane, put, due)
  redis.call('ZADD', base .. 'waiting', put, number)
  if lane ~= '' then
    local first = redis.call('ZRANGE', base .. 'lane:' .. lane, 0, 0)[1]
    redis.call('ZADD', base .. 'lane:' .. lane, number, number)
    if first and tonumber(first) < tonumber(number) then return false end
    -- A row that is tried again may come before the one that led.
    if first then redis.call('ZREM', base .. 'due', first) end
  end
  redis.call('ZADD', base .. 'due', due, number)
  return true
end

-- A row waits no more; the next one of its lane leads it.
local function wan_leave(number, lane)
  redis.call('ZREM', base .. 'waiting', number)
  redis.call('ZREM', base .. 'due', number)
  if lane ~= '' then
    redis.call('ZREM', base .. 'lane:' .. lane, number)
    local next = redis.call('ZRANGE', base .. 'lane:' .. lane, 0, 0)[1]
    if next and not redis.call('ZSCORE', base .. 'due', next) then redis.call('ZADD', base .. 'due', 0, next) end
  end
end
