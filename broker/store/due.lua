-- KEYS 1 sorted set by time in microseconds; ARGV 1 limit. Returns the members whose time has come by this server's clock.
local time = redis.call('TIME')
local now = string.format('%s%06d', time[1], tonumber(time[2]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
