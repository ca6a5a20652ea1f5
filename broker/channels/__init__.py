"""Faces towards people. Each channel renders and receives; none knows another."""
