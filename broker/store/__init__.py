"""Adapter: Redis or Valkey. Keys, the commit script, streams, the embedded server. Must not know business rules."""
