"""Channel: signed webhooks out."""
