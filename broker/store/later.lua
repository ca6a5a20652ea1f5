-- Give a delivery back: for another try after a while, or among the dead letters when it has had enough of them.
--
-- KEYS 1 outbox  2 later  3 dead
-- ARGV 1 group  2 entry  3 request  4 tries so far, this one included  5 tries at most  6 microseconds to wait
--      7 why  8 dead letters kept

-- whoever lost the entry, or sends this a second time, changes nothing
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
if tonumber(ARGV[4]) >= tonumber(ARGV[5]) then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], '*', 'r', ARGV[3], 'a', ARGV[4], 'w', ARGV[7])
else
  local time = redis.call('TIME')
  local at = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[6])
  redis.call('ZADD', KEYS[2], string.format('%.0f', at), ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[2])
end
return 1
