-- Add numbered audit entries, each once, however often the same write is sent.
--
-- KEYS 1 audit  2 audit number  3 lane of this writer  4 (optional) lane of an earlier write whose reply was lost
-- ARGV 1 where the lane has to stand  2 where it stands after this  3 seconds that lanes are kept
--      4 where lane 4 stands if that write was carried out ('' without lane 4)  5.. events
-- Returns done | conflict

local stands = redis.call('GET', KEYS[3]) or '0'
if stands == ARGV[2] then return 'done' end
if stands ~= ARGV[1] then return 'conflict' end

local missing = true
if KEYS[4] then
  local reached = tonumber(redis.call('GET', KEYS[4]) or '0')
  missing = not (reached and reached >= tonumber(ARGV[4]))
  -- the lost write may still be on its way: from now on it would find its lane closed
  if missing then redis.call('SET', KEYS[4], 'closed', 'EX', ARGV[3]) end
end
if missing then
  for event = 5, #ARGV do
    local number = string.format('%.0f', redis.call('INCR', KEYS[2]))
    redis.call('XADD', KEYS[1], number .. '-0', 'e', ARGV[event])
  end
end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
return 'done'
