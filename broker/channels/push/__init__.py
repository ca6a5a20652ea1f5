"""Web push: devices of people who want to hear that something waits for them. Told are an id and a severity, nothing else.

Must not know MCP, Redis, HTML, or the other channels. Subscriptions and sending: RFC 8030, 8188, 8291, 8292.
"""
