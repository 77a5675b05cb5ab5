-- Adds rows to the audit chain, all or none.
-- KEYS: chain
-- ARGV: for each: seq, when, body, hash
-- Gives 0: kept, 1: a number is there already
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
for at = 1, #ARGV, 4 do
  local seq = tonumber(ARGV[at])
  if seq <= last then return 1 end
  last = seq
end
for at = 1, #ARGV, 4 do
  redis.call('XADD', KEYS[1], ARGV[at] .. '-0', 'at', ARGV[at + 1], 'body', ARGV[at + 2], 'hash', ARGV[at + 3])
end
return 0
