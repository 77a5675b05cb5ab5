-- KEYS: task, webhooks, due
-- ARGV: task, id, delivered, done, config, most
-- Gives 0: kept, 1: too many, 2: no such task
if redis.call('EXISTS', KEYS[1]) == 0 then return 2 end
if keep_webhook(KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], false) then return 0 end
return 1
