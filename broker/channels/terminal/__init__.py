"""Channel: the terminal, a client of the HTTP API."""
