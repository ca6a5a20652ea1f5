"""Figures: counts, waiting times and advice from events. Must not know where events come from."""
