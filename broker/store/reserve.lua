-- Count one call in several windows, in one step.
--
-- KEYS in pairs: sorted set of calls by the time they were counted, hash of their amounts ('' is the total)
-- ARGV 1 call  then for each pair: window in microseconds, amount ('' takes the call out again)
-- Returns for each pair the sum of the other calls in the window, as text

-- doubles add and subtract whole numbers exactly up to here
local EXACT = 9007199254740992

local function text(number) return string.format('%.17g', number) end
local function exact(number) return number == math.floor(number) and number < EXACT end

-- Subtracting a fraction or a huge amount would lose what is small beside it, and with it a limit: then add up again.
local function without(amounts, total, amount)
  if exact(total) and exact(amount) then return total - amount end
  local sum = 0
  local all = redis.call('HGETALL', amounts)
  for field = 1, #all, 2 do
    if all[field] ~= '' then sum = sum + tonumber(all[field + 1]) end
  end
  return sum
end

local function take_out(calls, amounts, total, call)
  local amount = redis.call('HGET', amounts, call)
  if not amount then return total end
  redis.call('ZREM', calls, call)
  redis.call('HDEL', amounts, call)
  return without(amounts, total, tonumber(amount))
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local call = ARGV[1]
local sums = {}

for pair = 1, #KEYS / 2 do
  local calls, amounts = KEYS[2 * pair - 1], KEYS[2 * pair]
  local window, amount = tonumber(ARGV[2 * pair]), ARGV[2 * pair + 1]
  local total = tonumber(redis.call('HGET', amounts, '') or '0')
  local over = string.format('%.0f', now - window)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', calls, '-inf', over)) do
    total = take_out(calls, amounts, total, old)
  end
  total = take_out(calls, amounts, total, call)
  table.insert(sums, text(total))
  if amount ~= '' then
    redis.call('ZADD', calls, string.format('%.0f', now), call)
    redis.call('HSET', amounts, call, amount)
    total = total + tonumber(amount)
  end
  redis.call('HSET', amounts, '', text(total))
  local kept = math.ceil(window / 1000) + 60000
  redis.call('PEXPIRE', calls, kept)
  redis.call('PEXPIRE', amounts, kept)
end
return sums
