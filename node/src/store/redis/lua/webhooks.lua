-- How webhooks are kept, for the scripts below: one field each in a hash, `made delivered done config`, the first one made
-- with the smallest `made`; and the task in the set of those that have some to tell.
local function read_webhook(text)
  local made, delivered, done, config = string.match(text, '^(%d+) (%d+) (%d) (.*)$')
  return {made = tonumber(made), delivered = delivered, done = done, config = config}
end

local function write_webhook(key, id, webhook)
  local text = string.format('%.0f', webhook.made) .. ' ' .. webhook.delivered .. ' ' .. webhook.done .. ' ' .. webhook.config
  redis.call('HSET', key, id, text)
end

-- Keeps the task in the set of those that have webhooks to tell, or takes it out.
local function settle_webhooks(key, due, task)
  for _, text in ipairs(redis.call('HVALS', key)) do
    if read_webhook(text).done == '0' then return redis.call('ZADD', due, 0, task) end
  end
  redis.call('ZREM', due, task)
end

-- Keeps a webhook in place of the one of that id; false if there are too many others and the oldest may not make way.
local function keep_webhook(key, due, task, id, delivered, done, config, most, may_replace)
  local made, others, oldest, oldest_id = 0, 0, nil, nil
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    local known = read_webhook(all[at + 1])
    if all[at] == id then
      made = known.made
    else
      others = others + 1
      if not oldest or known.made < oldest then oldest, oldest_id = known.made, all[at] end
    end
  end
  if others >= tonumber(most) then
    if not may_replace then return false end
    redis.call('HDEL', key, oldest_id)
  end
  if made == 0 then
    for at = 2, #all, 2 do made = math.max(made, read_webhook(all[at]).made) end
    made = made + 1
  end
  write_webhook(key, id, {made = made, delivered = delivered, done = done, config = config})
  settle_webhooks(key, due, task)
  return true
end
