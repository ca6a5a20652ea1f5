"""Use cases: guard one call, open, review, wait, release, tell the channels. Must not know the MCP wire, Redis, Slack or HTML."""
