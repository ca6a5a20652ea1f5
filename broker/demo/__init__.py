"""Wiring: the demo. Toy servers with a real effect, an agent, and an attendant who decides when nobody is there."""
