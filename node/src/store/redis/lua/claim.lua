-- Takes an id once. `claim` stands above.
-- KEYS: epoch of the partition, claim
-- ARGV: when the id was given out, until when the claim lasts, now, margin, ahead
return claim(1, 1, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
