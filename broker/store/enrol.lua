-- Write one record of the registry if nobody wrote any since it was read. Knows no rule.
--
-- KEYS 1 records  2 head (n: how many writes, at: the last one's stamp)  3 audit  4 audit number  5 notices
-- ARGV 1 name  2 expected n  3 stamp, microseconds  4 record  5 event ('' none)  6 id of a notice ('' none)  7 the notice
-- Returns 1 when the record is in, also for whoever sends this twice.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[4] then return 1 end
if (redis.call('HGET', KEYS[2], 'n') or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('HINCRBY', KEYS[2], 'n', 1)
redis.call('HSET', KEYS[2], 'at', ARGV[3])
if ARGV[5] ~= '' then
  local number = string.format('%.0f', redis.call('INCR', KEYS[4]))
  redis.call('XADD', KEYS[3], number .. '-0', 'e', ARGV[5])
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[5], ARGV[6], ARGV[7]) end
return 1
