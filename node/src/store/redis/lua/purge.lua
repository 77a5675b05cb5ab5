-- Forgets tasks of one partition that are still as old as they were when they were chosen.
-- KEYS: finished, due, then for each: task, events, webhooks
-- ARGV: for each: id, when it was last changed
-- Gives how many it forgot.
local forgotten = 0
for at = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if score and tonumber(score) == tonumber(ARGV[at + 1]) then
    local first = 3 + 3 * (at - 1) / 2
    local known = redis.call('HMGET', KEYS[first], 'places', 'list')
    if known[1] then
      local text = known[1]
      redis.call('ZREM', known[2],
        string.sub(text, 1, 25), string.sub(text, 26, 51), string.sub(text, 52, 84), string.sub(text, 85))
    end
    redis.call('UNLINK', KEYS[first], KEYS[first + 1], KEYS[first + 2])
    redis.call('ZREM', KEYS[1], ARGV[at])
    redis.call('ZREM', KEYS[2], ARGV[at])
    forgotten = forgotten + 1
  end
end
return forgotten
