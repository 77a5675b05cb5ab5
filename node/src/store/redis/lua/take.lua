-- Loads a task and takes it for a replica.
-- KEYS: task, events, held by this replica, held by the dead one
-- ARGV: id, replica, new fence, dead replica or empty, owner, agent (both empty: whoever it belongs to)
-- Gives what load.lua gives, and before it 0: nobody holds it, 1: taken, 2: somebody else holds it
local task = redis.call('HMGET', KEYS[1],
  'owner', 'agent', 'context', 'state', 'updated', 'seq', 'head', 'rest', 'fence', 'holder')
if not task[1] then return false end
local holder = task[10]
local terminal = redis.call('HGET', KEYS[1], 'terminal') ~= '0'
local outcome = 0
if holder and holder ~= ARGV[2] and holder ~= ARGV[4] then
  outcome = 2
elseif not terminal and (ARGV[5] == '' or (task[1] == ARGV[5] and task[2] == ARGV[6])) then
  outcome = 1
  if holder and holder ~= ARGV[2] then redis.call('SREM', KEYS[4], ARGV[1]) end
  redis.call('HSET', KEYS[1], 'fence', ARGV[3], 'holder', ARGV[2])
  redis.call('SADD', KEYS[3], ARGV[1])
elseif terminal and holder then
  -- Nothing is left to be done for a task that has ended.
  redis.call('HDEL', KEYS[1], 'holder')
  redis.call('SREM', KEYS[3], ARGV[1])
  redis.call('SREM', KEYS[4], ARGV[1])
end
return {outcome, task, redis.call('XRANGE', KEYS[2], '(' .. task[6] .. '-0', '+')}
