-- Changes rows about peers, all or none.
-- KEYS: rows
-- ARGV: revision that must be in force, channel, (1: keep or 0: forget, id, body) for each change
-- Gives the new revision, or 0: another one is in force
--
-- Revisions are microseconds of the server's clock, so none comes again after the data were lost.
local revision = redis.call('HGET', KEYS[1], '') or '0'
if revision ~= ARGV[1] then return 0 end
for at = 3, #ARGV, 3 do
  if ARGV[at] == '1' then
    redis.call('HSET', KEYS[1], ARGV[at + 1], ARGV[at + 2])
  else
    redis.call('HDEL', KEYS[1], ARGV[at + 1])
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local next = string.format('%.0f', math.max(tonumber(revision) + 1, now))
redis.call('HSET', KEYS[1], '', next)
redis.call('PUBLISH', ARGV[2], next)
return tonumber(next)
