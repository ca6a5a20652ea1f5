"""Wiring: the bench. Starts its own upstream, broker and load, each a process, and measures them against each other."""
