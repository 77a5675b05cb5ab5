-- Counts how a call went.
-- KEYS: the counter
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], 2592000)
return 0
