"""What is odd about one rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from broker.domain.decisions import Effect, Severity
from broker.domain.people import Group
from broker.domain.servers import effective_hints
from broker.policy.cel_text import chains, tokens
from broker.policy.conditions import Answer, ask
from broker.policy.findings import Finding, Level, at
from broker.policy.model import Policy
from broker.policy.rules import Condition, Match, Rule
from broker.policy.ruleset import ruleset
from broker.policy.sheet import likely

_ARITHMETIC = frozenset(("+", "-", "*", "/", "%"))


def on(rule: Rule, code: str, message: str, mend: str = "", level: Level = Level.WARNING) -> Finding:
    """A finding at the place of a rule."""
    return at(code, level, rule.where, f"`{rule.id}` {message}", mend, column=rule.column)


def _unknown_names(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """A rule about servers and tools that nobody listed or accepted never meets a call."""
    match, servers = rule.match, policy.servers
    for name in sorted(match.server.exact - servers.keys()):
        mend = likely(name, servers) or "mend the name"
        yield on(rule, "no-such-server", f"names the server `{name}`, which servers.yaml does not", mend)
    listed = [(server, tool) for server in servers for tool in servers[server].tools]
    met = {tool for server, tool in listed if match.covers(server, tool)}
    reached = [name for name in servers if not match.server or match.server.has(name)]
    if not met and reached and (match.tool or match.not_tool):
        yield on(rule, "no-such-tool", "is about no tool that is known", _tool_mend(match.tool.written, listed, reached))
    elif reached:
        for name in sorted(match.tool.exact - {tool for _, tool in listed}):
            told = f"names the tool `{name}`, which is not known"
            yield on(rule, "no-such-tool", told, _tool_mend((name,), listed, reached))


def _tool_mend(names: Iterable[str], listed: list[tuple[str, str]], reached: list[str]) -> str:
    offered = sorted({tool for server, tool in listed if server in reached})
    guesses = (likely(name, offered) for name in names)
    return next(filter(None, guesses), "mend the name, or list or pin the tool")


def _wide_allow(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """Allow with a wildcard on tools that may destroy."""
    match = rule.match
    if rule.outcome is not Effect.ALLOW or rule.when is not None or (match.tool and match.tool.pattern is None):
        return
    for name, server in policy.servers.items():
        for tool, facts in server.tools.items():
            hints = effective_hints(facts, {})
            if match.covers(name, tool) and hints.destructive and all(getattr(hints, key) is value for key, value in match.hints):
                yield on(rule, "wide-allow", f"lets {name}/{tool} through, which may destroy", "name the tools, or add `when`")
                return


def _unreachable(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """A rule that no call can meet, by its own words."""
    for told in (*_contradicted(rule.match), *(_never_true(rule.when, policy) if rule.when is not None else ())):
        yield on(rule, "unreachable", f"never meets a call: {told}", "mend it, or take the rule away")


def _contradicted(match: Match) -> Iterator[str]:
    if (match.groups_any and match.groups_any <= match.groups_none) or match.groups_all & match.groups_none:
        yield "the groups that it wants are those that it leaves out"
    hints = dict(match.hints)
    if hints.get("read_only") and hints.get("destructive"):
        yield "what is read-only is never destructive"


def _never_true(when: Condition, policy: Policy) -> Iterator[str]:
    """Conditions about constants alone can be asked here and now."""
    rules = ruleset(policy)
    if all(chain.names[0] == "consts" for chain in chains(when.source)):
        known = rules.engine.Activation({f"consts.{name}": value for name, value in rules.consts.items()})
        if ask(when.program, known)[0] is Answer.NO:
            yield "its condition is never true"


def _own_word(rule: Rule, policy: Policy) -> Iterator[Finding]:
    told = rule.match.clients or any(chain.names[0] == "client" for item in rule.conditions for chain in chains(item.source))
    if rule.outcome is Effect.ALLOW and told:
        yield on(rule, "unproved-client", "allows by what the agent's software says of itself", "use groups, users or workloads")


def _double(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """`double("40")` is 40: in a comparison it lets text pass for a number."""
    for condition in (rule.when, rule.unless):
        if condition is not None and _compares_double(condition):
            yield at(
                "double-compared", Level.WARNING, f"{condition.file}:{condition.line}",
                f"`{rule.id}` compares double(args…), which takes the text \"40\" for a number",
                "compare args.x itself: whole numbers and fractions compare", column=condition.column,
            )  # fmt: skip


def _compares_double(condition: Condition) -> bool:
    found = list(tokens(condition.source))
    for index, token in enumerate(found):
        if token.text != "double" or index + 2 >= len(found) or found[index + 2].text != "args":
            continue
        closing = next((i for i in range(index, len(found)) if found[i].text == ")"), len(found) - 1)
        beside = {found[i].text for i in (index - 1, closing + 1) if 0 <= i < len(found)}
        if not beside & _ARITHMETIC:
            return True
    return False


def _weak_critical(rule: Rule, policy: Policy) -> Iterator[Finding]:
    if rule.severity is Severity.CRITICAL and rule.approval is not None and rule.approval.step_up is False:
        told = "is critical and is approved without a passkey"
        yield on(rule, "critical-without-step-up", told, "take `step_up: false` away", Level.NOTE)


def _caller_confirms(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """The caller's own user is no second pair of eyes: never for what is critical or wants a passkey."""
    if rule.approval is None or not rule.approval.caller:
        return
    if rule.approval.step_up or (rule.approval.step_up is None and rule.severity is Severity.CRITICAL):
        told = "lets the caller's own user confirm what needs a passkey: `caller: true` never counts there"
        yield on(rule, "caller-confirms-step-up", told, "take `caller: true` away", Level.ERROR)
    elif rule.severity is Severity.CRITICAL:
        told = "is critical, and the caller's own user may confirm it: that is nobody but who asks"
        yield on(rule, "caller-confirms-critical", told, "take `caller: true` away")


def _shown_secret(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """A title or a decisive field that shows what the rule hides."""
    hidden = [path.removeprefix("$.").replace("[*]", "").split(".*")[0].split("[")[0] for path in rule.redact]
    shown = [*(rule.approval.show if rule.approval is not None else ()), *_holes(rule.title)]
    for name in dict.fromkeys(shown):
        if any(name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for path in hidden):
            yield on(
                rule, "shows-redacted", f"shows `{name}` and redacts it", "take it out of the title and of `show`", Level.ERROR
            )


def _holes(title: str) -> list[str]:
    return [part.split("}")[0] for part in title.split("{")[1:]]


def _groups(rule: Rule, policy: Policy) -> Iterator[Finding]:
    """Groups that can't give their approvals."""
    if rule.approval is None:
        return
    for need in rule.approval.all_of:
        group = policy.people.groups.get(need.group)
        if group is not None and not group.idp and not group.slack:
            yield from _size(rule, group, need.count)


def _size(rule: Rule, group: Group, count: int) -> Iterator[Finding]:
    size = len(set(group.members))
    if size < count:
        yield on(rule, "group-too-small", f"asks {count} of `{group.name}`, which has {size}", "add members", Level.ERROR)
    elif size == count:
        told = f"asks everybody in `{group.name}`: a call by one of them is denied, since nobody approves their own"
        yield on(rule, "group-just-enough", told, "add a member")


EACH: tuple[Callable[[Rule, Policy], Iterator[Finding]], ...] = (
    _unknown_names, _unreachable, _wide_allow, _own_word, _double, _weak_critical, _caller_confirms, _shown_secret, _groups,
)  # fmt: skip
