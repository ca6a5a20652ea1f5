"""The strict envelope: one JSON-RPC message in, and exactly what was understood out.

What is judged, shown and sent must be one and the same, so a message with two readings is refused: duplicate keys, lone
surrogates, NaN, numbers beyond a double. `encoded` is what goes upstream; the bytes that came in never do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import msgspec

from broker.errors import Malformed

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022

LARGEST_INTEGER = 2**53 - 1

RpcId = int | str

_LONG_NUMBER = re.compile(rb"[0-9]{16}")
# In every number that may be larger than a double: 10^308 needs a third digit in its exponent, or so many before it.
_ENDLESS_NUMBER = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Message(msgspec.Struct, frozen=True, dict=True):
    """One JSON-RPC message. `method` is empty for a response; `id` is None for a notification.

    `params` is the member of `body`, or an empty object that is no part of it. `raw` is what came in, for measuring only.
    """

    body: dict[str, Any]
    method: str
    id: RpcId | None
    params: dict[str, Any]
    raw: bytes

    @cached_property
    def meta(self) -> dict[str, Any]:
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    @property
    def request(self) -> bool:
        return self.method != "" and self.id is not None

    def encoded(self) -> bytes:
        return encoded(self.body)


def parsed(raw: bytes) -> Message:
    """Return the one message in `raw`. Raises `Malformed` with the JSON-RPC code in `rpc`."""
    try:
        body = _read(raw)
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise Malformed("the message is not UTF-8", rpc=PARSE_ERROR) from None
    except RecursionError:
        raise Malformed("the message is nested too deeply", rpc=INVALID_REQUEST) from None
    except ValueError:
        raise Malformed("the message is not JSON", rpc=PARSE_ERROR) from None
    if isinstance(body, list):
        raise Malformed("batches are not taken: send one message at a time", rpc=INVALID_REQUEST)
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise Malformed("the message is no JSON-RPC 2.0 object", rpc=INVALID_REQUEST)
    return _message(body, raw)


def _read(raw: bytes) -> Any:
    """Return the JSON value. What is written again byte by byte as it came has one reading: no key twice, nothing rounded."""
    try:
        body = _decode(raw)
        if _encode(body) == raw:
            return body
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        pass  # the strict reader says what is wrong
    decoder = _CAREFUL if _ENDLESS_NUMBER.search(raw) else _DECODER
    return decoder.decode(raw.decode("utf-8", "strict"))


def encoded(body: Any) -> bytes:
    """Return `body` as compact JSON. Raises `Malformed` for what has no UTF-8 form, or is nested too deeply."""
    try:
        return _encode(body)
    except UnicodeEncodeError:
        raise Malformed("the message holds a lone surrogate", rpc=INVALID_REQUEST) from None
    except (RecursionError, OverflowError):
        raise Malformed("the message is nested too deeply, or holds a number that is too large", rpc=INVALID_REQUEST) from None


def check_judged(message: Message) -> None:
    """Raises `Malformed` where a call could be read in two ways: integers beyond ±(2^53-1), which many parsers round; odd shapes.

    Size and depth of the arguments are the policy's to refuse, so that the audit tells of them.
    """
    if not isinstance(message.params.get("arguments", {}), dict):
        raise Malformed("`arguments` has to be an object", rpc=INVALID_PARAMS)
    if not isinstance(message.params.get("name"), str):
        raise Malformed("`name` has to be a string", rpc=INVALID_PARAMS)
    if _LONG_NUMBER.search(message.raw):
        _check_integers([value for name, value in message.params.items() if name != "_meta"])


def _check_integers(level: list[Any]) -> None:
    while level:
        if any(type(value) is int and abs(value) > LARGEST_INTEGER for value in level):
            raise Malformed("integers have to lie within ±(2^53-1): send larger ones as strings", rpc=INVALID_PARAMS)
        level = [inner for value in level if isinstance(value, dict | list) for inner in _inside(value)]


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _message(body: dict[str, Any], raw: bytes) -> Message:
    method, params, rpc_id = body.get("method", ""), body.get("params", {}), body.get("id")
    if "id" in body and (isinstance(rpc_id, bool) or not isinstance(rpc_id, int | str)):
        raise Malformed("the id has to be a string or an integer", rpc=INVALID_REQUEST)
    if not isinstance(method, str) or ("method" in body) == ("result" in body or "error" in body) or body.get("method") == "":
        raise Malformed("the message is neither a request, a notification nor a response", rpc=INVALID_REQUEST, id=rpc_id)
    if not method and rpc_id is None:
        raise Malformed("a response needs an id", rpc=INVALID_REQUEST)
    if not isinstance(params, dict):
        raise Malformed("`params` has to be an object", rpc=INVALID_PARAMS, id=rpc_id)
    return Message(body, method, rpc_id, params, raw)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("the message holds a key twice", rpc=INVALID_REQUEST)
    return members


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Malformed("the message holds a number that is too large", rpc=INVALID_REQUEST)
    return number


def _constant(text: str) -> float:
    raise Malformed(f"{text} is not JSON", rpc=PARSE_ERROR)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
_CAREFUL = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_number, parse_constant=_constant)
