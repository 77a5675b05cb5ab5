-- A task: its newest snapshot and the events after it, as they were at one moment.
-- KEYS: task, events
-- ARGV: 'rest' if the rest of the snapshot is wanted, too
local task = redis.call('HMGET', KEYS[1],
  'owner', 'agent', 'context', 'state', 'updated', 'seq', 'head', ARGV[1], 'fence', 'holder')
if not task[1] then return false end
return {task, redis.call('XRANGE', KEYS[2], '(' .. task[6] .. '-0', '+')}
