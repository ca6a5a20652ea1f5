"""A rule's text, changed for trial: what the change would do to past calls, and the patch with a test to commit.

Nothing here writes a file or changes what is in force.
"""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from broker.channels.web.charts import asks, changes, effects
from broker.channels.web.parts import Web
from broker.channels.web.past_calls import PastCalls, past_calls
from broker.channels.web.ports import SignedIn
from broker.channels.web.rehearsing import NoSuchRule, NotRehearsed
from broker.channels.web.trial import Trial, call_of, trial_of
from broker.channels.web.visitors import AnyRequest, posted, visitor
from broker.domain.text import sentence
from broker.errors import Forbidden, Malformed, PolicyInvalid
from broker.policy.cases import tests_of
from broker.policy.load import digest, files
from broker.policy.rehearsal import Order, Rehearsal, Tried
from broker.policy.replay import Recorded
from broker.policy.ruleset import ruleset
from broker.policy.source import Excerpt, plain, rule_text


class Loaded(msgspec.Struct, frozen=True):
    """The files that are in force, and the rule in them."""

    contents: dict[str, bytes]
    digest: str
    rule: str
    at: Excerpt


@get("/policies/rules/{rule:str}", include_in_schema=False)
async def rule_page(request: AnyRequest, rule: FromPath[str]) -> Response[str]:
    """The rule as it is written, to change it for trial."""
    web = Web.of(request)
    web.member(visitor(request))
    loaded = await _loaded(web, rule)
    return web.page(request, "rule.html", **_values(web, loaded, loaded.at.text, trial_of({})))


@post("/policies/rules/{rule:str}", status_code=200, include_in_schema=False)
async def rehearsed(request: AnyRequest, rule: FromPath[str]) -> Response[str]:
    """What the changed rule would do."""
    web, who, form, loaded = await _asked(request, rule)
    text, trial = plain(form.get("text", "")), trial_of(form)
    values = _values(web, loaded, text, trial)
    try:
        past = await past_calls(web, who)
        told = await _rehearsed(web, loaded, text, trial, past, form.get("digest", ""))
    except (Malformed, NotRehearsed) as error:
        return web.page(request, "rule.html", status=422, **values | {"wrong": sentence(error.message)})
    return web.page(request, "rule.html", status=422 if told.problems else 200, **values | _report(told, past))


@post("/policies/rules/{rule:str}/patch", status_code=200, include_in_schema=False)
async def patch(request: AnyRequest, rule: FromPath[str]) -> Response[str]:
    """The change as a file. Raises `Malformed` where there is none."""
    web, who, form, loaded = await _asked(request, rule)
    told = await _rehearsed(
        web, loaded, plain(form.get("text", "")), trial_of(form), await past_calls(web, who), form.get("digest", "")
    )
    if not told.patch:
        raise Malformed("there is no change to make a patch of")
    headers = {"content-disposition": f'attachment; filename="{rule}.patch"'}
    return Response(told.patch, media_type="text/x-patch", headers=headers)


async def _asked(request: AnyRequest, rule: str) -> tuple[Web, SignedIn, dict[str, str], Loaded]:
    web = Web.of(request)
    who, form = await posted(request)
    web.member(who)
    return web, who, form, await _loaded(web, rule)


async def _loaded(web: Web, rule: str) -> Loaded:
    """Raises `Forbidden` where files and policy differ, `NoSuchRule` for a rule that has no lines of its own."""
    policy, folder = web.parts.policies.current, web.parts.policy_folder
    if rule not in {one.id for one in ruleset(policy).rules} or folder is None:
        raise NoSuchRule("there is no such rule")
    try:
        contents = await anyio.to_thread.run_sync(files, folder)
    except PolicyInvalid:
        contents = {}
    if digest(contents) != policy.digest:
        raise Forbidden("the files are not those in force: mend them first, or wait a moment until they are loaded")
    at = rule_text(contents, rule)
    if at is None:
        raise NoSuchRule("this rule shares its lines with others: change its file")
    return Loaded(contents, policy.digest, rule, at)


async def _rehearsed(web: Web, loaded: Loaded, text: str, trial: Trial, past: PastCalls, begun: str) -> Rehearsal:
    """Raises `Malformed` for a call that is none, and where the policy changed since the form was opened; `NotRehearsed`."""
    if begun != loaded.digest:
        raise Malformed("the policy has changed since you opened this page: look at the rule again, then try once more")
    policy, folder = web.parts.policies.current, web.parts.policy_folder
    assert folder is not None
    tests = await anyio.to_thread.run_sync(tests_of, folder)
    named = Tried(Recorded(web.now().replace(microsecond=0), call_of(trial)), trial.own_groups) if trial.named else None
    environment = ruleset(policy).environment
    return await web.rehearser.run(
        Order(loaded.contents, tests, loaded.rule, text, policy.servers, environment, past.lines, named)
    )  # fmt: skip


def _values(web: Web, loaded: Loaded, text: str, trial: Trial) -> dict[str, Any]:
    servers = web.parts.policies.current.servers
    return {
        "loaded": loaded, "text": text, "trial": trial, "told": None, "wrong": "", "past": None,
        "servers": {name: sorted(server.tools) for name, server in sorted(servers.items())},
        "people": sorted(web.people().persons),
    }  # fmt: skip


def _report(told: Rehearsal, past: PastCalls) -> dict[str, Any]:
    if told.replay is None:
        return {"told": told, "past": past}
    report = told.replay
    return {"told": told, "past": past, "effects": effects(report), "changes": changes(report), "asks": asks(report)}


ROUTES = (rule_page, rehearsed, patch)
