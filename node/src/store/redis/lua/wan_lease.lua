-- Takes envelopes in hand.
-- KEYS: what all names begin with
-- ARGV: how many, now, until
-- Gives number, put, attempts and body of each
local leased = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'due', '-inf', ARGV[2], 'LIMIT', 0, ARGV[1])
for _, number in ipairs(due) do
  redis.call('ZADD', KEYS[1] .. 'due', ARGV[3], number)
  local row = redis.call('HMGET', KEYS[1] .. 'row:' .. number, 'put', 'attempts', 'body')
  leased[#leased + 1] = number
  for at = 1, 3 do leased[#leased + 1] = row[at] end
end
return leased
