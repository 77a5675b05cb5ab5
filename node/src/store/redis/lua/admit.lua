-- Counts one call. `admit` stands above.
-- KEYS: those of the call
-- ARGV: something that nobody else has, then what the call is held to
return admit(1, 2, ARGV[1])
