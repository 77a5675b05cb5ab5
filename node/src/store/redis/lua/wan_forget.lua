-- Forgets settled envelopes beyond the retention with their names, oldest first.
-- KEYS: what all names begin with
-- ARGV: how many, those that came before are too old, how many may stay
-- Gives how many it forgot
local settled = KEYS[1] .. 'settled'
local too_many = redis.call('ZCARD', settled) - tonumber(ARGV[3])
local forgotten = 0
for _, number in ipairs(redis.call('ZRANGE', settled, 0, ARGV[1] - 1)) do
  local row = redis.call('HMGET', KEYS[1] .. 'row:' .. number, 'put', 'name', 'message')
  if too_many <= 0 and row[1] and tonumber(row[1]) > tonumber(ARGV[2]) then break end
  if row[2] then redis.call('HDEL', KEYS[1] .. 'names', row[2], row[3]) end
  redis.call('UNLINK', KEYS[1] .. 'row:' .. number)
  redis.call('ZREM', settled, number)
  redis.call('ZREM', KEYS[1] .. 'dead', number)
  too_many = too_many - 1
  forgotten = forgotten + 1
end
return forgotten
