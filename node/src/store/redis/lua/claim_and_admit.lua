-- Takes an id once for a call, and counts the call if nobody had taken the id. `claim` and `admit` stand above.
-- KEYS: two for `claim`, then those for `admit`
-- ARGV: five for `claim`, then those for `admit`
-- Gives what `claim` gives, then, after a 0, what `admit` gives
local function from(list, first)
  local rest = {}
  for at = first, #list do rest[#rest + 1] = list[at] end
  return rest
end
local claimed = claim(KEYS, ARGV)
if claimed ~= 0 then return { claimed } end
local answer = admit(from(KEYS, 3), from(ARGV, 6))
table.insert(answer, 1, claimed)
return answer
