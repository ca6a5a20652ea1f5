-- Keep a credential until its time is over, and list it with its holder.
--
-- KEYS 1 credential  2 sorted set of a kind's credentials by their end
-- ARGV 1 hash  2 record  3 holder  4 milliseconds  5 '1': only if it still exists
-- Returns 1, or 0 when it was gone

if ARGV[5] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[1] .. ' ' .. ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
return 1
