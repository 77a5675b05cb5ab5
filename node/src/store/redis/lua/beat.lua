-- Says that a replica lives, or asks about another.
-- KEYS: replicas, by when they last said that they live
-- ARGV: replica, how long it is believed in ms, '1' to say that it lives
-- Gives whether the replica lives, and all that do not.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dead = string.format('%.0f', now - ARGV[2])
if ARGV[3] == '1' then redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1]) end
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lives = 0
if at and tonumber(at) >= tonumber(dead) then lives = 1 end
return {lives, redis.call('ZRANGE', KEYS[1], '-inf', '(' .. dead, 'BYSCORE', 'LIMIT', 0, 16)}
