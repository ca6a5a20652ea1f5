"""What is covered, by what, and that nothing gets around it."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.locations import check_path
from broker.domain.redaction import Cause, Field, Masked, Shown, covered, shown, shown_call
from broker.errors import ConfigInvalid
from tests.fakes.steps import steps

KEY = b"k" * 32
STRIPE = "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc"


def marked(text: str) -> str:
    """The fingerprint as this key makes it."""
    return covered(text, KEY).partition("fingerprint ")[2][:8]


def test_a_rule_covers_what_its_path_names() -> None:
    arguments = {"card": {"number": "12", "name": "Jo"}, "amount": 5}
    assert shown(arguments, ["$.args.card.*"], KEY) == Shown(
        arguments={"card": {"number": "[redacted 2 characters]", "name": "[redacted 2 characters]"}, "amount": 5},
        rest={},
        masked=(
            Masked("$['args']['card']['number']", Cause.RULE, "$.args.card.*", "[redacted 2 characters]"),
            Masked("$['args']['card']['name']", Cause.RULE, "$.args.card.*", "[redacted 2 characters]"),
        ),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", "[redacted 3 characters]"),
        (1234, "[redacted 4 characters]"),
        (True, "[redacted 4 characters]"),
        (None, "[redacted 4 characters]"),
        ("", "[redacted 0 characters]"),
        ({}, {}),
        ([], []),
        ([1], "[redacted 1 members]"),
    ],
)
def test_a_rule_covers_values_of_every_kind(value: Any, text: Any) -> None:
    assert shown({"x": value}, ["$.args.x"], KEY).arguments == {"x": text}


def test_a_rule_can_cover_everything() -> None:
    assert shown({"a": 1, "b": 2}, ["$.args"], KEY).arguments.startswith("[redacted 2 members, fingerprint ")


def test_equal_secrets_have_equal_fingerprints_and_another_key_makes_others() -> None:
    both = shown({"a": STRIPE, "b": f"key {STRIPE}"}, [], KEY).arguments
    assert both == {"a": f"[redacted 32 characters, fingerprint {marked(STRIPE)}]", "b": "key " + both["a"]}
    assert shown({"a": STRIPE}, [], b"x" * 32).arguments["a"] != both["a"]


def test_a_short_value_gets_no_fingerprint_since_trying_would_find_it() -> None:
    assert shown({"password": "1234567"}, [], KEY).arguments == {"password": "[redacted 7 characters]"}
    assert "fingerprint" in shown({"password": "12345678"}, [], KEY).arguments["password"]


def test_members_under_a_name_of_a_secret_are_covered_at_every_depth() -> None:
    arguments = {"credentials": {"user": "jo", "keys": [1234, True, None, ""]}, "max_tokens": 5}
    assert shown(arguments, [], KEY).arguments == {
        "credentials": {"user": "[redacted 2 characters]", "keys": ["[redacted 4 characters]", True, None, ""]},
        "max_tokens": 5,
    }


def test_a_card_number_is_found_as_text_and_as_a_number() -> None:
    assert [item.what for item in shown({"a": 4111111111111111, "b": "4111-1111-1111-1111", "c": 10**300}, [], KEY).masked] == [
        "card number",
        "card number",
    ]


def test_a_secret_in_a_members_name_is_covered_in_the_copy_and_in_every_path() -> None:
    view = shown({"env": {STRIPE: {"token": "abcdefgh"}}}, [], KEY)
    assert STRIPE not in json.dumps(view.arguments)
    assert [item.path for item in view.masked] == ["$['args']['env']", "$['args']['env']['[redacted]']['token']"]


def test_other_members_of_params_are_covered_as_well() -> None:
    view = shown({}, ["$.rest.task.owner"], KEY, rest={"task": {"owner": "jo", "note": STRIPE}})
    assert view.rest["task"]["owner"] == "[redacted 2 characters]"
    assert view.rest["task"]["note"].startswith("[redacted 32")


def test_secrets_can_be_uncovered_one_by_one_and_rules_can_not() -> None:
    arguments = {"a": STRIPE, "password": "hunter22", "c": "private"}
    view = shown(arguments, ["$.args.c"], KEY)
    assert [item.path for item in view.secrets] == ["$['args']['a']", "$['args']['password']"]
    opened = shown(arguments, ["$.args.c"], KEY, uncovered=["$['args']['a']", "$['args']['c']"])
    assert (opened.arguments["a"], opened.arguments["c"]) == (STRIPE, "[redacted 7 characters]")
    assert [item.path for item in opened.secrets] == ["$['args']['password']"]


def test_a_view_is_whole_only_when_rules_alone_cover_it() -> None:
    assert shown({"a": 1}, ["$.args.a"], KEY).whole
    assert not shown({"a": STRIPE}, [], KEY).whole
    assert not shown({"token": "abc"}, [], KEY).whole
    assert not shown({"a": 1}, ["nonsense["], KEY).whole


@pytest.mark.parametrize("path", ["args.card", "$.args[", "", "$..[?length(@.a, 3)]"])
def test_a_path_that_fails_covers_everything(path: str) -> None:
    view = shown({"a": "plain", "n": 1}, ["$.args.n", path], KEY, rest={"x": "y"})
    assert "plain" not in json.dumps([view.arguments, view.rest])
    assert {item.by for item in view.masked} == {Cause.FAILED}
    assert check_path("$.args.n") == ""


def test_a_document_too_deep_for_a_path_is_covered_whole() -> None:
    deep: Any = "plain"
    for _ in range(3_000):
        deep = {"a": deep}
    assert "plain" not in json.dumps(shown(deep, ["$..x"], KEY).arguments)


def test_a_document_too_deep_for_people_is_covered_below() -> None:
    deep: Any = "plain"
    for _ in range(5_000):
        deep = [deep]
    view = shown({"x": deep}, [], KEY)
    assert "plain" not in json.dumps(view.arguments)
    assert [item.by for item in view.masked] == [Cause.FAILED]


def test_hostile_text_of_a_megabyte_is_scanned() -> None:
    text = "<!channel> ```\n" * 60_000 + STRIPE
    assert STRIPE not in shown({"a": text}, [], KEY).arguments["a"]


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        ({"numbers": [1] * 2_000}, 6),
        ({"empty": [""] * 2_000}, 6),
        ({"texts": [f"number {number}" for number in range(2_000)]}, 18),
        ({"password": [1] * 2_000}, 40),
        ({"text": f"{STRIPE} " * 2_000}, 20),
        ({"secrets": [f"{STRIPE}{number}" for number in range(2_000)]}, 80),
        ({f"{number:x}": "" for number in range(2_000)}, 25),
    ],
)
def test_what_each_of_many_tiny_members_costs_is_bounded(arguments: dict[str, Any], most: int) -> None:
    assert steps(lambda: shown(arguments, [], KEY)) < 2_000 * most


def test_a_weak_key_is_refused() -> None:
    with pytest.raises(ConfigInvalid):
        shown({}, [], b"short")


def test_free_text_is_covered() -> None:
    assert covered("it said postgres://app:s3cr3t@db", KEY) == "it said postgres://app:[redacted 6 characters]@db"


PLAN = ApprovalPlan(
    title="Pay 4111222233334444555 of card sec-12345678 to Jo, 123 …",
    asks=(RuleApproval("r", (Requirement("finance"),)),),
    timeout=timedelta(minutes=1),
    show=("args.to", "$.args.card.name", "args.missing", "args.lines[*].sku", "args["),
    redact=("$.args.card",),
)


def test_a_card_has_title_fields_and_arguments_from_the_covered_copy() -> None:
    arguments = {"to": "Jo", "card": {"name": "sec-12345678", "cvv": 123}, "lines": [{"sku": "a"}, {"sku": {"b": 1}}]}
    call = ToolCall("payments", "pay", {"name": "pay", "arguments": arguments, "extra": {"token": "abcd"}}, Caller())
    view = shown_call(call, PLAN, KEY)
    assert view.title == "Pay 4111222233334444555 of card [redacted] to Jo, [redacted] …"
    assert view.fields == (
        Field("args.to", "Jo"),
        Field("$.args.card.name", "(none)"),
        Field("args.missing", "(none)"),
        Field("args.lines[*].sku", 'a, {"b": 1}'),
        Field("args[", "(unreadable)"),
    )
    assert view.rest == {"extra": {"token": "[redacted 4 characters]"}}


def test_a_title_that_clipped_a_secret_shows_no_part_of_it() -> None:
    secret = "n" * 30 + "q" * 100
    call = ToolCall("s", "t", {"arguments": {"note": secret}}, Caller())
    plan = ApprovalPlan(f"Note {secret[:79]}…", PLAN.asks, PLAN.timeout, redact=("$.args.note",))
    assert shown_call(call, plan, KEY).title == "Note [redacted]…"


@pytest.mark.parametrize("arguments", [{"a": f"{STRIPE} " * 1_001}, {"a": [f"{STRIPE} "] * 1_001 + [f"x {STRIPE}, {STRIPE}"]}])
def test_texts_with_more_secrets_than_anybody_looks_through_are_covered_whole(arguments: dict[str, Any]) -> None:
    call = ToolCall("s", "t", {"arguments": arguments}, Caller())
    view = shown_call(call, msgspec.structs.replace(PLAN, title=f"Keep {STRIPE[:12]}", redact=()), KEY)
    assert (view.title, view.whole, STRIPE[:12] in repr(view)) == ("Keep [redacted]", False, False)
    last = view.masked[-1]
    text = arguments["a"] if isinstance(arguments["a"], str) else arguments["a"][-1]
    assert (last.by, last.text.partition(",")[0]) == (Cause.SHAPE, f"[redacted {len(text)} characters")
    assert shown(arguments, [], KEY, uncovered=[last.path]).arguments != view.arguments


CROWDS = {
    "named": {"password": [1] * 2_001},
    "shaped": {"texts": [{"a": f"{STRIPE}{number}"} for number in range(2_001)]},
    "names": {f"{STRIPE}{number}": 1 for number in range(2_001)},
    "in one text": {"text": "pwd=abcdef " * 4_001},
    "in many texts": {f"{number}": "pwd=abcdef " * 2 for number in range(2_001)},
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_a_call_with_more_secrets_than_anybody_looks_through_is_covered_whole_and_uncovered_as_one(crowd: dict[str, Any]) -> None:
    arguments, rest = {**crowd, "card": "4000", "note": "plain"}, {"task": {"note": f"plain {STRIPE}"}}
    view = shown(arguments, ["$.args.card"], KEY, rest=rest)
    assert "plain" not in repr(view)
    assert STRIPE not in repr(view)
    assert {(item.path, item.by, item.what) for item in view.masked} == {("$", Cause.SHAPE, "more than 2,000 values")}
    assert (view.whole, [item.text for item in view.secrets]) == (False, [view.rest["task"], view.arguments])
    opened = shown(arguments, ["$.args.card"], KEY, rest=rest, uncovered=["$"])
    assert opened.arguments == {**arguments, "card": "[redacted 4 characters]"}
    assert (opened.rest, opened.whole) == (rest, True)


def test_rules_cover_as_many_values_as_they_name_each_by_itself() -> None:
    view = shown({"rows": [{"card": "4000"}] * 3_000}, ["$.args.rows[*].card"], KEY)
    assert (len(view.masked), view.whole, view.arguments["rows"][-1]) == (3_000, True, {"card": "[redacted 4 characters]"})


def test_a_path_that_fails_covers_everything_of_a_crowd_as_well_and_nothing_uncovers_it() -> None:
    view = shown({"password": ["plain"] * 5_000}, ["args["], KEY, rest={"x": STRIPE * 9}, uncovered=["$"])
    assert ("plain" in repr(view), {item.by for item in view.masked}) == (False, {Cause.FAILED})


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(document=st.dictionaries(st.text(), DOCUMENTS, max_size=5), place=st.integers(0, 3))
def test_a_secret_never_leaves_wherever_it_lies(document: dict[str, Any], place: int) -> None:
    arguments = {**document, "held": [document, {"x": STRIPE}, [f"a {STRIPE} b"], {STRIPE: document}][place]}
    view = shown(arguments, ["$..never"], KEY)
    assert STRIPE not in repr(view)


@settings(max_examples=150, deadline=None)
@given(document=st.dictionaries(st.text(alphabet="abcxyz"), DOCUMENTS, max_size=5))
def test_the_input_is_never_changed(document: dict[str, Any]) -> None:
    before = repr(document)
    shown(document, ["$.args.*"], KEY)
    assert repr(document) == before
