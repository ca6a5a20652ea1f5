-- Keep one answer and count it: KEYS 1 hash of answers  2 hash of counts  ARGV 1 mark  2 what is said, '' nothing  3 seconds to keep
-- What the same mark said before is counted no more. Sent twice it does no harm.
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and before ~= '' and redis.call('HINCRBY', KEYS[2], before, -1) == 0 then redis.call('HDEL', KEYS[2], before) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[2] ~= '' then redis.call('HINCRBY', KEYS[2], ARGV[2], 1) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
