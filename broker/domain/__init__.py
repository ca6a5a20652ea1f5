"""Ground: calls, people, decisions, requests and their moves, as data. Knows nothing else: no async, no clock, no I/O."""
