-- Say that something has to be looked at, or that it was.
--
-- KEYS 1 wanted
-- ARGV 1 subject  2 when in microseconds ('now': at once; '' : no more)  3 the score that was looked at ('': whatever it is)
-- With a score, nothing is changed when the subject was wanted again meanwhile. Returns 1 if it was done.

local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then
  if not held or string.format('%.0f', held) ~= ARGV[3] then return 0 end
end
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 1
end
local at = tonumber(ARGV[2])
if not at then
  local time = redis.call('TIME')
  at = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
-- another want has another score, so that whoever looks now can tell
if held and tonumber(held) == at then at = at + 1 end
redis.call('ZADD', KEYS[1], string.format('%.0f', at), ARGV[1])
return 1
