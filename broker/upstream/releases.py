"""What a release sends and takes back, whatever way it goes: the stored call, and one answer for the mailbox."""

from __future__ import annotations

from broker.domain.requests import ApprovalRequest
from broker.domain.rounds import asked_back
from broker.upstream import eras
from broker.upstream.flights import Message, encode, meta_of
from broker.upstream.http_release import LARGEST_RESULT, Stamp
from broker.upstream.words import CLIENT_CAPABILITIES_META_KEY


def stored_call(request: ApprovalRequest, stamp: Stamp) -> Message:
    """Return the `tools/call` as it was reviewed, with `_meta` of ours, under its first caller's JSON-RPC id."""
    number = request.id if request.origin.rpc_id is None else request.origin.rpc_id
    params = {**request.call.params, "_meta": {**stamp(request), "progressToken": request.id}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def member_of(call: Message, answer: Message, *, older: bool = False) -> bytes:
    """Return the answer's member, `{"result": …}` or `{"error": …}`; `older`: as a caller of the older era reads it.

    A server may ask back what the call declared that its caller can be asked, which is nothing unless the catalogue says that it
    may ask; one that answers with a task meets nobody.
    """
    result = answer.get("result")
    kind = result.get("resultType", "complete") if isinstance(result, dict) else "complete"
    if kind != "complete" and asked_back(result, meta_of(call).get(CLIENT_CAPABILITIES_META_KEY, {})) is None:
        text = f"the server answered the approved call with `{kind}` instead of a result: it was not finished"
        answer = eras.error(call, -32603, text)
    answer = eras.older_answer(answer) if older else answer
    member = encode({name: answer[name] for name in ("result", "error") if name in answer})
    if len(member) <= LARGEST_RESULT:
        return member
    text = f"The call ran, but its result of {len(member)} bytes is too large to be kept."
    return encode({"result": {"content": [{"type": "text", "text": text}], "isError": True}})
