"""Use cases: seal, verify, export what happened. Must not know the wire, Redis or HTML."""
