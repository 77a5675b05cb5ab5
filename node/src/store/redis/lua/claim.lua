-- Takes an id once.
-- KEYS: epoch of the partition, claim
-- ARGV: when the id was given out, until when the claim lasts, now (all in ms), how much longer it is remembered, how far
-- the clock of whoever gave it out may be ahead of ours
-- Gives 0: first, 1: repeated, 2: given out before the epoch began, so nobody knows
--
-- The epoch ends whenever claims may have been lost: with the data, or with the process of the server that held them,
-- which may not have written the last of them. Nobody but the server itself can tell which process answers.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local epoch = redis.call('GET', KEYS[1])
local began
if epoch then
  local of, at = string.match(epoch, '^(%x+) (%d+)$')
  if of == server then began = tonumber(at) end
end
if not began then
  local time = redis.call('TIME')
  began = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('SET', KEYS[1], server .. ' ' .. string.format('%.0f', began))
end
local taken = redis.call('GET', KEYS[2])
if taken and tonumber(taken) > tonumber(ARGV[3]) then return 1 end
if tonumber(ARGV[1]) <= began + tonumber(ARGV[5]) then return 2 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', string.format('%.0f', ARGV[2] - ARGV[3] + ARGV[4]))
return 0
