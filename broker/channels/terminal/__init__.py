"""Channel: the terminal, a client of the HTTP API. Must not know the store, nor how the broker decides."""
