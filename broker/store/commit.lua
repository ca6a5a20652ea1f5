-- Compare the version and write one change of one request, in one step. Knows no rule: all of them are in Python.
--
-- KEYS 1 record  2 join  3 answer  4 changes  5 outbox  6 audit  7 audit number  8.. the sorted sets to touch
-- ARGV 1 id  2 expected version (0: must not exist)  3 version  4 nonce  5 body ('' deletes)
--      6 join ('' none)  7 what becomes of the join: '' leave, '0' release, else milliseconds that it still holds
--      8 answer ('' none)  9 milliseconds that the answer is kept ('' leave)
--      10 event ('' none: nothing is told)  11 state  12 length of the change stream
--      13.. one for each sorted set: its score, or '' to leave it
-- Returns done | conflict | joined <id>

local id, nonce = ARGV[1], ARGV[4]

local stored = redis.call('HMGET', KEYS[1], 'v', 'n', 'a')
-- a client that lost the reply sends the same commit again: it is done, not in conflict with itself
if stored[2] and string.find(stored[2], nonce, 1, true) then return {'done'} end
if (stored[1] or '0') ~= ARGV[2] then return {'conflict'} end

local holder = ARGV[6] ~= '' and redis.call('GET', KEYS[2])
if ARGV[2] == '0' then
  if holder then return {'joined', holder} end
  if ARGV[6] ~= '' then redis.call('SET', KEYS[2], id) end
elseif holder == id then
  if ARGV[7] == '0' then redis.call('DEL', KEYS[2])
  elseif ARGV[7] ~= '' then redis.call('PEXPIRE', KEYS[2], ARGV[7]) end
end

if ARGV[5] == '' then
  redis.call('DEL', KEYS[1], KEYS[3])
else
  local nonces = nonce .. ' ' .. string.sub(stored[2] or '', 1, 3 * (#nonce + 1))
  redis.call('HSET', KEYS[1], 'v', ARGV[3], 'b', ARGV[5], 'j', ARGV[6], 'n', nonces)
end
if ARGV[8] ~= '' then redis.call('SET', KEYS[3], ARGV[8], 'PX', ARGV[9])
elseif ARGV[9] ~= '' then redis.call('PEXPIRE', KEYS[3], ARGV[9]) end

for place = 8, #KEYS do
  local score = ARGV[place + 5]
  if score == '' then redis.call('ZREM', KEYS[place], id) else redis.call('ZADD', KEYS[place], score, id) end
end

if ARGV[10] ~= '' then
  local number = string.format('%.0f', redis.call('INCR', KEYS[7]))
  redis.call('XADD', KEYS[6], number .. '-0', 'e', ARGV[10])
  redis.call('HSET', KEYS[1], 'a', (stored[3] and stored[3] .. ' ' or '') .. number)
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[12], '*', 'c', id .. ' ' .. ARGV[3] .. ' ' .. ARGV[11])
  redis.call('XADD', KEYS[5], '*', 'r', id, 'a', '0')
end
return {'done'}
