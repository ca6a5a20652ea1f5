"""Rules: policy files in, decisions out, by pure functions. Must not know Redis, HTTP or the clock."""
