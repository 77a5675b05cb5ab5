-- KEYS: webhooks, due
-- ARGV: task, id
-- Gives how many it forgot
local forgotten = redis.call('HDEL', KEYS[1], ARGV[2])
settle_webhooks(KEYS[1], KEYS[2], ARGV[1])
return forgotten
