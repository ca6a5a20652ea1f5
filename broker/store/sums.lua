-- Add up what counts in several windows now. Writes nothing.
--
-- KEYS in pairs: sorted set of calls by the time they were counted, hash of their amounts
-- ARGV for each pair: window in microseconds
-- Returns for each pair the sum of the calls in the window, as text

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local sums = {}

for pair = 1, #KEYS / 2 do
  local since = string.format('(%.0f', now - tonumber(ARGV[pair]))
  local sum = 0
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2 * pair - 1], since, '+inf')) do
    sum = sum + tonumber(redis.call('HGET', KEYS[2 * pair], call) or '0')
  end
  table.insert(sums, string.format('%.17g', sum))
end
return sums
