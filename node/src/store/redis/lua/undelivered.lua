-- Tasks of one partition with webhooks that have events to be told of.
-- KEYS: due
-- ARGV: after, limit, what the names of tasks and of their webhooks begin with
local found = {}
for _, task in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX')) do
  if #found >= tonumber(ARGV[2]) then break end
  local id = string.gsub(task, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  local last = tonumber(redis.call('HGET', ARGV[3] .. id, 'last') or 0)
  for _, text in ipairs(redis.call('HVALS', ARGV[4] .. id)) do
    local webhook = read_webhook(text)
    if webhook.done == '0' and tonumber(webhook.delivered) < last then
      found[#found + 1] = task
      break
    end
  end
end
return found
