"""Adapter: who is it? Agents' tokens, people's tokens and links, sign-in. Must not know approvals."""
