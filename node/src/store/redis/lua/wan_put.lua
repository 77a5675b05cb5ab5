-- Keeps envelopes that are not known.
-- KEYS: what all names begin with
-- ARGV: now, due, most, then for each: name, message or '', lane or '', body
-- Gives for each its number (negative: not the first of its lane), 0: known, or '': too many wait
local names = base .. 'names'
local waiting = redis.call('ZCARD', base .. 'waiting')
local kept = {}
for at = 4, #ARGV, 4 do
  local name, message, lane, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local known = redis.call('HEXISTS', names, name) == 1 or message ~= '' and redis.call('HEXISTS', names, message) == 1
  if known then
    kept[#kept + 1] = '0'
  elseif waiting >= tonumber(ARGV[3]) then
    kept[#kept + 1] = ''
  else
    waiting = waiting + 1
    local number = redis.call('INCR', base .. 'last')
    redis.call('HSET', names, name, number)
    if message ~= '' then redis.call('HSET', names, message, number) end
    redis.call('HSET', base .. 'row:' .. number,
      'name', name, 'message', message, 'lane', lane, 'put', ARGV[1], 'attempts', 0, 'body', body)
    local leads = wan_wait(number, lane, ARGV[1], ARGV[2])
    kept[#kept + 1] = (leads and '' or '-') .. string.format('%.0f', number)
  end
end
return kept
