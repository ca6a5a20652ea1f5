-- Replace one value if nobody else has: KEYS 1 hash  ARGV 1 field  2 '1' if it has to exist  3 its value  4 the new one
-- Returns 1 when the value is the new one, also for whoever sends this twice.
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found == ARGV[4] then return 1 end
local expected = ARGV[2] == '1' and ARGV[3]
if found ~= expected then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
return 1
