"""Where messages are that must be there once: a second one, after a reply that got lost, is noted to be taken away."""

from __future__ import annotations

import msgspec

from broker.channels.slack.places import Post, decode_post, encode_post
from broker.channels.slack.ports import Posts

EXTRA = "extra:"


async def adopted(posts: Posts, subject: str, place: str, post: Post) -> bool:
    """Keep where a message is. A second one of the same place is kept as an extra. Returns whether anything was new."""
    for at, held in ((at, decode_post(held)) for at, held in (await posts.of(subject)).items()):
        if (held.channel, held.ts) == (post.channel, post.ts):
            if post.mark and not held.mark:
                await posts.put(subject, at, encode_post(msgspec.structs.replace(held, mark=post.mark)))
            return False
    kept = decode_post(await posts.first(subject, place, encode_post(post)))
    if kept.ts != post.ts:
        await posts.put(subject, f"{EXTRA}{post.channel}:{post.ts}", encode_post(post))
    return True
