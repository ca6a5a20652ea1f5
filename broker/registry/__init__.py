"""Use cases: which servers exist, who owns them, whether they may be used. Must not know the wire, Redis or HTML."""
