-- Take deliveries for one consumer: those whose next try has come are put back first, then come those of consumers that
-- died, then new ones.
--
-- KEYS 1 outbox  2 later  ARGV 1 group  2 consumer  3 limit  4 milliseconds after which a holder counts as dead
-- Returns a list of {entry, request, tries so far}

local group, consumer, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now = string.format('%s%06d', time[1], tonumber(time[2]))
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, limit)) do
  local request, tries = string.match(member, '^(%S+) (%d+)')
  redis.call('ZREM', KEYS[2], member)
  redis.call('XADD', KEYS[1], '*', 'r', request, 'a', tries)
end

if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
if #redis.call('XINFO', 'GROUPS', KEYS[1]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[1], group, '0') end

local taken = {}
local function take(entry, fields, again)
  table.insert(taken, {entry, fields[2], tostring(tonumber(fields[4]) + again)})
end

for _, entry in ipairs(redis.call('XAUTOCLAIM', KEYS[1], group, consumer, ARGV[4], '0', 'COUNT', limit)[2]) do
  if entry and entry[2] then
    local held = redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1)
    take(entry[1], entry[2], held[1][4] - 1)
  end
end
if #taken < limit then
  local fresh = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', limit - #taken, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {}) do take(entry[1], entry[2], 0) end
end
return taken
