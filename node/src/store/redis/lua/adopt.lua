-- Decides which replica looks after a dead one for the next while.
-- KEYS: who does
-- ARGV: replica, for how long in ms
local by = redis.call('GET', KEYS[1])
if by and by ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
