-- Says what became of envelopes.
-- KEYS: what all names begin with
-- ARGV: for each: number, `done`, `later`, `dead`, `again` or `dropped`, due or reason or '', attempts or ''
-- Gives of how many that was true
local were = 0
for at = 1, #ARGV, 4 do
  local number, what, told, attempts = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local row = base .. 'row:' .. number
  local of_dead = what == 'again' or what == 'dropped'
  local put = redis.call('ZSCORE', base .. (of_dead and 'dead' or 'waiting'), number)
  if put then
    were = were + 1
    local lane = redis.call('HGET', row, 'lane')
    if what == 'later' then
      redis.call('HSET', row, 'attempts', attempts)
      redis.call('ZADD', base .. 'due', 'XX', told, number)
    elseif what == 'again' then
      redis.call('ZREM', base .. 'dead', number)
      redis.call('ZREM', base .. 'settled', number)
      redis.call('HSET', row, 'attempts', 0)
      redis.call('HDEL', row, 'reason')
      wan_wait(number, lane, redis.call('HGET', row, 'put'), told)
    elseif what == 'dropped' then
      redis.call('ZREM', base .. 'dead', number)
      redis.call('HDEL', row, 'reason', 'body')
    else
      wan_leave(number, lane)
      redis.call('ZADD', base .. 'settled', number, number)
      if what == 'dead' then
        redis.call('ZADD', base .. 'dead', number, number)
        redis.call('HSET', row, 'reason', told)
      else
        redis.call('HDEL', row, 'body')
      end
    end
  end
end
return were
