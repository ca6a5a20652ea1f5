from __future__ import annotations

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.canonical import canonical
from tests.fakes.steps import steps

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('\0\x1f\x7f"\\\b\f\n\r\t\u2028\ufffe\ue000\U0001f600'))
EDGES = (0.0, -0.0, 1e-5, 1e-6, 9.99e-7, 1e-7, 5e-324, 1e15, 1e16, 2.0**53, 1e20, 1e21, 1.7976931348623157e308)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | TEXTS | NUMBERS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(VALUES)
def test_every_value_has_the_form_that_the_rfc_gives_it(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-330, 307).map(lambda place: float(f"-1.5e{place}")))
def test_a_number_is_written_as_the_rfc_writes_it(value: float) -> None:
    assert canonical([value]) == rfc8785.dumps([value])


@pytest.mark.parametrize("value", EDGES)
def test_a_number_at_an_edge_is_written_as_the_rfc_writes_it(value: float) -> None:
    for near in (value, -value, math.nextafter(value, 0), math.nextafter(value, math.inf)):
        if math.isfinite(near):
            assert canonical({"x": near}) == rfc8785.dumps({"x": near})


MANY = [*([number] * 2_000 for number in (1, 1.0, 1.5, 1e-6, 1e300)), {f"\ue000{name}": 0 for name in range(2_000)}]


@pytest.mark.parametrize("many", MANY)
def test_what_each_of_many_numbers_costs_is_bounded(many: Any) -> None:
    assert steps(lambda: canonical(many)) < 2_000 * 15


@pytest.mark.parametrize("value", [{1: 2}, {True: 1}, 2**53, float("nan"), b"x", {"x": {1}}, "\ud800", {"\ud800": 1}])
def test_what_the_rfc_gives_no_form_has_none(value: Any) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeError)):
        canonical(value)
