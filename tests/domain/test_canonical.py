from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.canonical import canonical

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('\0\x1f\x7f"\\\b\f\n\r\t\u2028\ufffe\ue000\U0001f600'))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | TEXTS | NUMBERS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


@given(VALUES)
def test_every_value_has_the_form_that_the_rfc_gives_it(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [{1: 2}, {True: 1}, 2**53, float("nan"), b"x", {"x": {1}}, "\ud800", {"\ud800": 1}])
def test_what_the_rfc_gives_no_form_has_none(value: Any) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeError)):
        canonical(value)
