"""The grammar of policy files: every key, its shape, and what it means. The loader and the JSON Schema both read it here."""

from __future__ import annotations

from broker.policy import directory
from broker.policy.scalars import Choice, Constant, Day, Duration, Flag, Number, Text
from broker.policy.shapes import Field, Many, Record, Table

_ID = Text("an id of lower-case letters, digits and hyphens", r"[a-z0-9][a-z0-9-]{1,63}", "write an id such as refund-large")
_NAME = Text("a name without spaces or brackets", r"[^\s\[\]{}]{1,256}")
_NAMES = Many(_NAME, or_one=True)
_GROUPS = Many(Text("a group", r"[^\s\[\]{}*?]{1,128}", "write the group's whole name, without * or ?"), or_one=True)
_ENVIRONMENTS = Many(Text("an environment", r"[^\s\[\]{}*?]{1,64}"), or_one=True)
_CEL = Text("a condition in CEL", mend="write a condition such as args.amount > 100, in quotes where it holds : or #")
_PATH = Text("a path into the arguments", r"args(\.[A-Za-z_][A-Za-z0-9_-]*)+", "write it as args.customer")
_JSONPATH = Text("a JSONPath into the arguments", r"\$\.args(\.|\[).*", "write it as $.args.card.*")
_TITLE = Text("a text", r"(?s).{1,300}")

_HINTS = Record(
    "`hints`",
    {
        "read_only": Field(Flag(), "the tool changes nothing"),
        "destructive": Field(Flag(), "the tool may delete or overwrite"),
        "idempotent": Field(Flag(), "a second call changes nothing more"),
        "open_world": Field(Flag(), "the tool reaches systems outside"),
    },
)
_WHO = {
    "server": Field(_NAMES, "server names, exact or with * and ?"),
    "tool": Field(_NAMES, "tool names, exact or with * and ?"),
    "not_tool": Field(_NAMES, "tools that are left out"),
    "groups_any": Field(_GROUPS, "the caller is in one of these groups"),
    "groups_all": Field(_GROUPS, "the caller is in all of these groups"),
    "groups_none": Field(_GROUPS, "the caller is in none of these groups"),
    "users": Field(_NAMES, "the caller's user, exact or with * and ?"),
    "clients": Field(_NAMES, "the agent's software by its own words: shown, not proved"),
    "workloads": Field(_NAMES, "the caller's service identity"),
    "surfaces": Field(_NAMES, "the chat, IDE or bot that the call comes through, as its credential says"),
    "not_surfaces": Field(_NAMES, "surfaces that are left out; no surface at all is not left out"),
    "conversations": Field(_NAMES, "where in the surface, as its credential says: the id of a Slack conversation"),
    "not_conversations": Field(_NAMES, "conversations that are left out; none at all is not left out"),
    "env": Field(_ENVIRONMENTS, "the broker's environment"),
}
MATCH = Record("`match`", {**_WHO, "hints": Field(_HINTS, "effective hints of the tool")})
_COUNTED = Record("`match` of a counter", _WHO)

_NEED = Record(
    "a requirement",
    {
        "group": Field(Text("a group", r"[^\s\[\]{}*?]{1,128}"), "whose members are asked", needed=True),
        "count": Field(Number(1, 20, whole=True), "how many different members; 1 if absent"),
    },
)
_STEP = Record(
    "an escalation",
    {
        "after": Field(Duration(), "how long nobody may answer", needed=True),
        "to": Field(Many(_NEED), "groups whose members may answer from then on", needed=True),
    },
)
APPROVAL = Record(
    "`approval`",
    {
        "all_of": Field(Many(_NEED), "requirements, all of which must be met"),
        "timeout": Field(Duration(), "after this the request is rejected; 15m if absent"),
        "escalate": Field(Many(_STEP), "who may answer as well when nobody does; the count never sinks"),
        "channels": Field(Many(_NAME, or_one=True), "where it is announced, e.g. slack:#refunds"),
        "show": Field(Many(_PATH, or_one=True), "arguments that decide, shown first"),
        "step_up": Field(Flag(), "approve with a passkey; true for critical rules if absent"),
        "type_to_confirm": Field(_PATH, "an argument whose value the approver types"),
        "caller": Field(Flag(), "the caller's own user may confirm it instead; never where a passkey is wanted"),
    },
)
_LIMIT = Record(
    "`limit`",
    {
        "counter": Field(Text("a counter's name"), "the counter that is looked at", needed=True),
        "max": Field(Number(0), "the highest value, this call included", needed=True),
        "then": Field(Choice(("deny", "require_approval")), "what happens beyond it", needed=True),
    },
)
_RULE = Record(
    "a rule",
    {
        "id": Field(_ID, "stable name of the rule, never used again for another", needed=True),
        "title": Field(_TITLE, "what people read; may use {args.x}, {caller.user}, {tool.name}, {server.name}"),
        "description": Field(_TITLE, "why the rule is there, in a sentence"),
        "severity": Field(Choice(("low", "medium", "high", "critical")), "medium if absent"),
        "mode": Field(Choice(("enforce", "shadow", "disabled")), "shadow only reports; enforce if absent"),
        "guardrail": Field(Flag(), "no exception may take this rule away"),
        "match": Field(MATCH, "which calls it is about; all if absent"),
        "when": Field(_CEL, "a condition that must hold"),
        "unless": Field(_CEL, "a condition under which the rule does not apply"),
        "effect": Field(Choice(("allow", "require_approval", "deny", "limit")), "what follows", needed=True),
        "approval": Field(APPROVAL, "who is asked; defaults.approval if absent"),
        "limit": Field(_LIMIT, "for effect limit"),
        "redact": Field(Many(_JSONPATH), "arguments that channels and logs never show"),
    },
    partly=True,
)
_EXCEPTION = Record(
    "an exception",
    {
        "id": Field(_ID, "stable name", needed=True),
        "rules": Field(Many(_ID, or_one=True), "rules that ask or deny, which it takes away", needed=True),
        "when": Field(_CEL, "the calls that it is for", needed=True),
        "expires": Field(Day(), "its last day", needed=True),
        "owner": Field(_NAME, "who answers for it", needed=True),
        "ticket": Field(_NAME, "where it was agreed"),
    },
    partly=True,
)
_COUNTER = Record(
    "a counter",
    {
        "window": Field(Duration(), "how far back it looks", needed=True),
        "key": Field(Many(Choice(("caller", "agent", "server", "tool")), or_one=True), "one sum for each; [caller] if absent"),
        "match": Field(_COUNTED, "which calls it counts; all if absent"),
        "sum": Field(_PATH, "the argument it adds up; calls are counted if absent"),
        "of": Field(Choice(("all", "asked", "released")), "which calls count; all if absent"),
    },
)
DEFAULTS = Record(
    "`defaults`",
    {
        "unmatched": Field(Choice(("deny", "require_approval", "allow")), "when no rule matches; deny if absent"),
        "unknown_tool": Field(Choice(("deny", "require_approval")), "for tools that nobody accepted; deny if absent"),
        "approval": Field(APPROVAL, "for rules that ask without their own"),
        "timezone": Field(Text("a time zone", r"[A-Za-z0-9_+/-]{1,64}", "write a name such as Europe/Berlin"), "of exceptions"),
    },
)
RULES = Record(
    "a policy file",
    {
        "defaults": Field(DEFAULTS, "what holds where no rule says otherwise"),
        "consts": Field(Table(Constant()), "values by name, for conditions: consts.name"),
        "counters": Field(Table(_COUNTER), "sums over earlier calls, for conditions and limits: counters.name"),
        "lib": Field(Table(_CEL), "CEL snippets by name: lib.name"),
        "rules": Field(Many(_RULE, may_be_empty=True), "the rules, in any order"),
        "exceptions": Field(Many(_EXCEPTION, may_be_empty=True), "dated, owned exceptions from rules"),
        **directory.FIELDS,
    },
)
