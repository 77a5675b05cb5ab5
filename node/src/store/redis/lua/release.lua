-- Lets go of a task, unless somebody else has taken it meanwhile.
-- KEYS: task, held by this replica
-- ARGV: id, replica, fence
local known = redis.call('HMGET', KEYS[1], 'fence', 'holder')
if known[1] == ARGV[3] and known[2] == ARGV[2] then redis.call('HDEL', KEYS[1], 'holder') end
if known[2] ~= ARGV[2] or known[1] == ARGV[3] then redis.call('SREM', KEYS[2], ARGV[1]) end
return 0
