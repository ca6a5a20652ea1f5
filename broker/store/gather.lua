-- Take arrivals for one consumer: those of consumers that died first, then new ones.
--
-- KEYS 1 arrivals  ARGV 1 group  2 consumer  3 limit  4 milliseconds after which a holder counts as dead
-- Returns a list of {entry, body}

local group, consumer, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
redis.pcall('XGROUP', 'CREATE', KEYS[1], group, '0')

local taken = {}
for _, entry in ipairs(redis.call('XAUTOCLAIM', KEYS[1], group, consumer, ARGV[4], '0', 'COUNT', limit)[2]) do
  if entry and entry[2] then table.insert(taken, {entry[1], entry[2][2]}) end
end
if #taken < limit then
  local fresh = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', limit - #taken, 'STREAMS', KEYS[1], '>')
  for _, entry in ipairs(fresh and fresh[1][2] or {}) do table.insert(taken, {entry[1], entry[2][2]}) end
end
return taken
