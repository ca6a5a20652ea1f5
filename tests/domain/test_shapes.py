"""What looks like a secret, and what does not."""

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.shapes import _SHAPES, Span, harmless, names_a_secret, spans, spans_inside, spans_of

SECRETS = {
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    "AWS access key": "AKIAIOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "x" * 20,
    "Slack token": "xox" + "b-123456789012-abcdefABCDEF",
    "Stripe key": "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "API key": "sk-proj-" + "Ab1_" * 8,
    "Google key": "AIza" + "Sy" * 17 + "x",
    "registry token": "npm_" + "a1" * 18,
    "service token": "hf_" + "Zz" * 17,
    "broker's own token": "broker-agent-" + "D_-" * 14 + "x",
    "card number": "4111 1111 1111 1111",
}

PARTS = [
    ("-----BEGIN PRIVATE KEY-----\\n" + "MIIEvQ" * 4 + "\\n-----END", "\\n" + "MIIEvQ" * 4 + "\\n", "private key"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + "lQdGBF" * 4 + "\n--", "\n\n" + "lQdGBF" * 4 + "\n", "private key"),
    ("key " + "ATATT3" + "xFfGF0" * 4 + "=1A2B", "ATATT3" + "xFfGF0" * 4 + "=1A2B", "service token"),
    ("postgres://app:s3cr3t@db/x", "s3cr3t", "password in a URL"),
    ("Authorization: Bearer abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx", "authorization"),
    ("--password=hunter2!; ls", "hunter2!", "assigned secret"),
    ('{"api_key": "k-123456"}', "k-123456", "assigned secret"),
    ("AccountKey=" + "Q" * 40 + ";x", "Q" * 40, "storage key"),
    ("see https://hooks.slack.com/services/T000/B000/XXXXXXXX", "services/T000/B000/XXXXXXXX", "Slack webhook"),
]

PLAIN = [
    "",
    "refund for order A-10293",
    "4111 1111 1111 1112",
    "2026-11-24T10:00:00Z",
    "https://example.com/path?x=1@2",
    "the password is wrong",
    "sk-short",
    "550e8400-e29b-41d4-a716-446655440000",
    "a" * 5_000,
]


@pytest.mark.parametrize(("what", "secret"), SECRETS.items())
def test_a_well_known_shape_is_found_inside_text(what: str, secret: str) -> None:
    assert spans(f"use {secret} please") == (Span(4, 4 + len(secret), what),)


@pytest.mark.parametrize(("text", "part", "what"), PARTS)
def test_only_the_secret_part_of_a_shape_is_covered(text: str, part: str, what: str) -> None:
    start = text.index(part)
    assert spans(text) == (Span(start, start + len(part), what),)


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert spans(text) == ()


def test_nothing_but_key_material_hides_behind_a_private_key_header() -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIE" * 10 + "\n; rm -rf /"
    (span,) = spans(text)
    assert text[span.end :] == "; rm -rf /"


def test_overlapping_shapes_become_one_span() -> None:
    text = "password=ghp_" + "a1B2" * 9 + "%x"
    (span,) = spans(text)
    assert text[span.start : span.end] == "ghp_" + "a1B2" * 9 + "%x"


@pytest.mark.parametrize(
    "unit", ["password", "password  ", "://a:", "eyJaaaaaa.", "1234 ", "-----BEGIN PRIVATE KEY-----", "bearer ", "3" * 19]
)
def test_a_scan_is_linear_in_hostile_text(unit: str) -> None:
    small, large = unit * (50_000 // len(unit)), unit * (400_000 // len(unit))
    assert _best(large) < 40 * _best(small) + 0.2


def _best(text: str) -> float:
    """Seconds of processor time for a scan, of three: a neighbour on the machine makes some of them slower."""
    found = []
    for _ in range(3):
        started = thread_time()
        spans(text)
        found.append(thread_time() - started)
    return min(found)


SECRET_NAMES = (
    *("password", "DB_PASSWORD", "userPassword", "passphrase", "cvc", "Authorization", "credentials"),
    *("apiKey", "API-KEY", "apikey", "X-Api-Key", "private_key", "sshKey"),
    *("token", "access_token", "accesstoken", "clientSecret"),
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["", "max_tokens", "page_token", "key", "idempotency_key", "author", "secretary", "primary_key", "tokens", "pass"]
)
def test_names_of_other_things(name: str) -> None:
    assert not names_a_secret(name)


@pytest.mark.parametrize("secret", [*SECRETS.values(), *(text for text, _, _ in PARTS)])
def test_short_and_long_texts_are_looked_through_alike(secret: str) -> None:
    for text in (secret, f"token {secret}", f"bearerbasictoken={secret}", secret * 2):
        assert spans(text) == spans(text + " ." * 200)


def test_no_hint_begins_another_which_the_one_pass_over_short_texts_would_miss() -> None:
    hints = {hint for shape in _SHAPES for hint in shape.hints}
    assert [(one, other) for one in hints for other in hints if one != other and other.startswith(one)] == []


FRAGMENTS = [
    *SECRETS.values(),
    *(text for text, _, _ in PARTS),
    *PLAIN[:-1],
    "password",
    "=",
    ": ",
    "://a:",
    "b@",
    "\n",
    "bearer ",
    "4111",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=4).map("".join)


@given(st.lists(TEXTS, max_size=8, unique=True))
def test_many_texts_in_one_scan_show_what_each_shows_alone(texts: list[str]) -> None:
    assert spans_of(texts) == {text: spans(text) for text in texts if spans(text)}


def test_no_shape_reaches_from_one_text_into_the_next() -> None:
    ends = (
        "password",
        "pwd =",
        "postgres://app:",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "eyJhbGciOi.eyJzdWIiOi",
        "4111 1111",
    )
    begins = ("=hunter22", "hunter22", "s3cr3t@db", "a" * 24, "A" * 40, ".dBjftJeZ4CVP", " 1111 1111")
    assert [pair for pair in zip(ends, begins, strict=True) if spans_of(pair)] == []
    assert [pair for pair in zip(ends, begins, strict=True) if not spans("".join(pair))] == []


def test_a_document_is_scanned_with_its_names_and_its_long_numbers() -> None:
    card, key = SECRETS["card number"].replace(" ", ""), SECRETS["API key"]
    found = spans_inside({key: [int(card), {"a": "short"}, 1, None, "harmless text", 10**300]})
    assert found == {key: spans(key), card: spans(card), "harmless text": ()}


@pytest.mark.parametrize("value", [None, True, 1.5, 1, 10**12, 10**19, -(10**15), "", "abcde"])
def test_what_is_harmless_shows_no_secret_however_it_is_written(value: object) -> None:
    assert harmless(value)
    assert spans(str(value)) == ()
