-- Notes how far a webhook has been told; it never goes back.
-- KEYS: webhooks, due
-- ARGV: task, id, through, done
local text = redis.call('HGET', KEYS[1], ARGV[2])
if not text then return 0 end
local webhook = read_webhook(text)
if tonumber(ARGV[3]) > tonumber(webhook.delivered) then webhook.delivered = ARGV[3] end
if ARGV[4] == '1' then webhook.done = '1' end
write_webhook(KEYS[1], ARGV[2], webhook)
settle_webhooks(KEYS[1], KEYS[2], ARGV[1])
return 1
