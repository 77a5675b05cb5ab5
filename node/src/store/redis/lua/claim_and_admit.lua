-- Takes an id once for each of several calls, and counts the call if nobody had taken its id. `claim` and `admit` stand
-- above.
-- KEYS: for each call two for `claim`, then those for `admit`
-- ARGV: now, margin and ahead for `claim`, something that nobody else has, how many calls; then for each call how many
-- keys and arguments are its own, two for `claim`, and those for `admit`
-- Gives for each call what `claim` gives, then, after a 0, what `admit` gives
local now, margin, ahead = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local key, arg = 1, 6
local answers = {}
for call = 1, tonumber(ARGV[5]) do
  local claimed = claim(key, arg + 2, now, margin, ahead)
  local answer = { claimed }
  if claimed == 0 then
    answer = admit(key + 2, arg + 4, ARGV[4] .. ':' .. call)
    table.insert(answer, 1, claimed)
  end
  answers[call] = answer
  key, arg = key + ARGV[arg], arg + 2 + ARGV[arg + 1]
end
return answers
