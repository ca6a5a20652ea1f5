"""Channel: webhook. Tells a tracker what waits for reviews, signed; it must not know who reviews, nor any other channel."""
