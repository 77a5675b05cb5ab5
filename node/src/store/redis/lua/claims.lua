-- Taking ids once.
-- The epoch of a partition ends whenever claims may have been lost: with the data, or with the process of the server that
-- held them, which may not have written the last of them. Nobody but the server itself can tell which process answers.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')

-- Takes an id: `KEYS[key]` is the epoch of its partition, the next is its claim. `ARGV[arg]` is when the id was given out,
-- the next until when the claim lasts. Then now (all in ms), how much longer a claim is remembered, and how far the clock
-- of whoever gave it out may be ahead of ours.
-- Gives 0: first, 1: repeated, 2: given out before the epoch began, so nobody knows
local function claim(key, arg, now, margin, ahead)
  local epoch = redis.call('GET', KEYS[key])
  local began
  if epoch then
    local of, at = string.match(epoch, '^(%x+) (%d+)$')
    if of == server then began = tonumber(at) end
  end
  if not began then
    local time = redis.call('TIME')
    began = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('SET', KEYS[key], server .. ' ' .. string.format('%.0f', began))
  end
  local taken = redis.call('GET', KEYS[key + 1])
  if taken and tonumber(taken) > now then return 1 end
  if tonumber(ARGV[arg]) <= began + ahead then return 2 end
  redis.call('SET', KEYS[key + 1], ARGV[arg + 1], 'PX', string.format('%.0f', ARGV[arg + 1] - now + margin))
  return 0
end
