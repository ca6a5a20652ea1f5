-- Keep what Slack sent, unless a message with the same mark was kept before.
--
-- KEYS 1 arrivals  2 arrived  ARGV 1 body  2 nonce  3 milliseconds that the mark is kept ('0': no mark)
-- Returns 1, or 0 for a replay

if ARGV[3] ~= '0' then
  -- a client that lost the reply sends the same again: that is no replay
  local seen = redis.call('GET', KEYS[2])
  if seen then return seen == ARGV[2] and 1 or 0 end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('XADD', KEYS[1], '*', 'b', ARGV[1])
return 1
