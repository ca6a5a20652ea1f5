"""The people and the guarded servers of a policy folder: their grammar, and the domain's values made from it."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from broker.domain.addresses import confidential
from broker.domain.people import Group, Person
from broker.domain.servers import EVERY, Authorization, Grant, Owner, Server, ToolFacts, Trust
from broker.policy.nodes import Place
from broker.policy.scalars import Choice, Flag, Number, Text
from broker.policy.shapes import Either, Field, Many, Read, Record, Table
from broker.policy.sheet import BAD, Sheet

_WORD = Text("a text without line breaks", r"[^\r\n]{1,500}")
_PERSON_ID = r"[^\s,;|<>\"']{1,254}"
_MEMBERS = Many(Text("a person's id", _PERSON_ID, "write the e-mail address that people.yaml names"), may_be_empty=True)
_SERVER_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_TOOL_NAME = r"[^\s\[\]{}*?]{1,128}"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_HEADER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}"

_GROUP_NAME = r"\*|[^\s\[\]{}*?]{1,128}"
_GROUP_NAMES = Many(Text("a group's name, or *", _GROUP_NAME), may_be_empty=True)

_PERSON = Record(
    "a person",
    {
        "name": Field(_WORD, "as colleagues know them"),
        "slack_id": Field(Text("a Slack member id", r"[UW][A-Z0-9]{1,20}"), "U123"),
    },
)
_GROUP = Record(
    "a group",
    {
        "members": Field(_MEMBERS, "ids of people"),
        "idp": Field(_WORD, "the identity provider's claim value that fills it"),
        "slack": Field(Text("a Slack group id", r"S[A-Z0-9]{1,20}"), "the Slack group that fills it"),
    },
)
_TOOL = Record(
    "a tool",
    {
        "read_only": Field(Flag(), "it changes nothing"),
        "destructive": Field(Flag(), "it may delete or overwrite"),
        "idempotent": Field(Flag(), "a second call changes nothing more"),
        "open_world": Field(Flag(), "it reaches systems outside"),
        "minutes_saved": Field(Number(0, 100_000), "how long a person would need for the same"),
    },
)
_AUTH = Record(
    "an authorization",
    {
        "token_url": Field(Text("an https address", r"https?://\S+"), "the token endpoint", needed=True),
        "client_id": Field(_WORD, "the broker's name there", needed=True),
        "client_secret": Field(_WORD, "its secret, as env:NAME, file:PATH or command:PROGRAM"),
        "grant": Field(Choice(tuple(Grant)), "client_credentials if absent; token_exchange is the user's own access"),
        "scope": Field(_WORD, "scopes, with spaces between"),
        "audience": Field(_WORD, "for whom the token is"),
        "resource": Field(_WORD, "the server's address, as the provider knows it"),
        "client_auth": Field(Choice(("client_secret_basic", "client_secret_post")), "client_secret_basic if absent"),
    },
)
_NETWORK = Text("a network", r"private|[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?", "write it as 10.0.0.0/8, or `private`")
_SERVER = Record(
    "a server",
    {
        "url": Field(Text("an address", r"\S+"), "the server's MCP address, for HTTP"),
        "command": Field(Many(Text("a word of the command", r"(?s)[^\0]+")), "the command that starts it, for stdio"),
        "env": Field(Table(Text("a value or reference", r"(?s)[^\0]*"), _VARIABLE), "secrets as env:NAME or file:PATH"),
        "cwd": Field(_WORD, "the command's working folder"),
        "headers": Field(
            Table(_WORD, _HEADER, "a header's name"), "sent to the server; secrets as env:NAME, file:PATH or command:PROGRAM"
        ),
        "auth": Field(_AUTH, "where the broker gets its access token for the server"),
        "networks": Field(Many(_NETWORK), "networks beside the public ones in which its address may lie"),
        "owner": Field(
            Record("an owner", {"team": Field(_WORD, "the team"), "contact": Field(_WORD, "where to ask")}),
            "who answers for the server",
        ),
        "trust": Field(Choice(("untrusted", "reviewed")), "untrusted if absent"),
        "per_session": Field(Flag(), "one process for each session"),
        "stateless": Field(Flag(), "the server keeps nothing in its sessions"),
        "tell_caller": Field(Flag(), "each message brings the broker's signed word about who calls"),
        "asks_back": Field(Flag(), "during a release the server may ask its caller; people review the answers"),
        "methods": Field(Many(Text("a method", r"[A-Za-z0-9_$./-]{1,128}")), "its own methods, beside MCP's, that may pass"),
        "tools": Field(Table(_TOOL, _TOOL_NAME, "a tool's name"), "its tools and what is known of them"),
        "groups": Field(
            Either(Table(Many(Text("a tool's name", rf"\*|{_TOOL_NAME}")), _GROUP_NAME, "a group's name, or *"), _GROUP_NAMES),
            "who may use it: groups, each with its tools if it is a table; `*` is everybody, or every tool",
        ),
        "sign_in": Field(Choice(("any", "person")), "person: somebody has to stand behind each call"),
        "experiment": Field(Flag(), "its owners alone try it out: `groups` names theirs, and it counts as not approved"),
        "discovery": Field(Choice(("authenticated", "public")), "public: anybody may list its tools, without a credential"),
    },
)  # fmt: skip

FIELDS = {
    "people": Field(Table(_PERSON, _PERSON_ID, "a person's id"), "people by id, the e-mail address that policies name"),
    "groups": Field(Table(Either(_GROUP, _MEMBERS), r"[^\s\[\]{}*?]{1,128}", "a group's name"), "groups and who fills them"),
    "servers": Field(Table(_SERVER, _SERVER_NAME, "a server's name: letters, digits, dot, - and _"), "the guarded servers"),
}


def person(name: str, read: Read) -> Person:
    return Person(id=name, **read.values)


def group(name: str, place: Place, read: Read | tuple[str, ...], sheet: Sheet) -> Any:
    """Return the group, or BAD where nobody can ever be in it."""
    made = Group(name=name, members=read) if isinstance(read, tuple) else Group(name=name, **read.values)
    if made.members or made.idp or made.slack:
        return made
    return sheet.wrong(place, f"nobody is in the group `{name}`", "name its members, or `idp:` or `slack:` that fills it")


def server(name: str, read: Read, sheet: Sheet) -> Any:
    """Return the server, or BAD where its keys don't fit together."""
    fits = all(check(read, sheet) for check in (_keys_fit, _address, _own_access)) if _one_way_in(name, read, sheet) else False
    if not (fits and _closed(name, read, sheet)):
        return BAD
    values = dict(read.values)
    for key in ("env", "headers"):
        values[key] = values[key].values if key in values else {}
    tools, groups = values.pop("tools", None), values.pop("groups", None)
    owner = values.pop("owner", None)
    auth = values.pop("auth", None)
    return Server(
        name=name,
        **{**values, "trust": Trust(values.get("trust", Trust.UNTRUSTED))},
        owner=Owner(**owner.values) if owner else Owner(),
        auth=Authorization(**{**auth.values, "grant": Grant(auth.get("grant", Grant.CLIENT_CREDENTIALS))}) if auth else None,
        groups=_groups(groups),
        tools={tool: ToolFacts(**facts.values) for tool, facts in tools.values.items()} if tools else {},
        where=f"{sheet.document.file}:{read.node.place.line}",
    )


def _groups(read: Read | tuple[str, ...] | None) -> dict[str, tuple[str, ...]] | None:
    if read is None:
        return None
    return dict.fromkeys(read, (EVERY,)) if isinstance(read, tuple) else {name: tuple(read.values[name]) for name in read.values}


def _closed(name: str, read: Read, sheet: Sheet) -> bool:
    """An experiment is some people's own."""
    if not read.get("experiment"):
        return True
    groups = _groups(read.get("groups"))
    if groups and EVERY not in groups and read.get("discovery") != "public":
        return True
    sheet.wrong(
        read.at("experiment"), f"`{name}` is an experiment that is open to everybody", "name its owners' group in `groups`"
    )  # fmt: skip
    return False


def _one_way_in(name: str, read: Read, sheet: Sheet) -> bool:
    if ("url" in read.node.value) != ("command" in read.node.value):
        return True
    sheet.wrong(read.node.place, f"the server `{name}` needs either `url` or `command`", "write one of the two")
    return False


def _keys_fit(read: Read, sheet: Sheet) -> bool:
    needs = {"env": "command", "cwd": "command", "per_session": "command"} | dict.fromkeys(("headers", "auth", "networks"), "url")
    wrong = [key for key, partner in needs.items() if key in read.node.value and partner not in read.node.value]
    for key in wrong:
        sheet.wrong(read.node.keys[key], f"`{key}` is for servers with `{needs[key]}`", f"take `{key}` away")
    return not wrong


def _address(read: Read, sheet: Sheet) -> bool:
    url = read.get("url")
    if url is None:
        return "url" not in read.node.value
    mend = "write it as https://host/mcp; secrets belong into `headers`"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.fragment or re.search(r"[\x00-\x20\\]", url):
        sheet.wrong(read.at("url"), "this is no http address without user, password and fragment", mend)
        return False
    return True


def _own_access(read: Read, sheet: Sheet) -> bool:
    """One way to an access token, sent only where nobody can read along, and networks that are some."""
    auth, headers = read.get("auth"), read.get("headers")
    if auth and headers and any(name.lower() == "authorization" for name in headers.values):
        sheet.wrong(read.node.keys["auth"], "`auth` and the header Authorization are two ways to one thing", "take one away")
        return False
    if auth and not confidential(auth.get("token_url", "")):
        sheet.wrong(auth.at("token_url"), "the token endpoint would get the secret unencrypted", "write its https address")
        return False
    return all(_network(one, read, sheet) for one in read.get("networks", ()))


def _network(text: str, read: Read, sheet: Sheet) -> bool:
    try:
        ip_network(text if text != "private" else "10.0.0.0/8")
    except ValueError:
        sheet.wrong(read.at("networks"), f"`{text}` is no network", "write it as 10.0.0.0/8, or `private`")
        return False
    return True
