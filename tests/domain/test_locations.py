from __future__ import annotations

from typing import Any

import pytest

from broker.domain.locations import check_path, found, path_of


def test_paths_are_normalized() -> None:
    assert path_of(("args", "it's", 0, 'a"b\n')) == "$['args']['it\\'s'][0]['a\"b\\n']"


@pytest.mark.parametrize(
    ("paths", "places"),
    [
        ([], {}),
        (["$.args.a", "$..b"], {("args", "a"): "$.args.a", ("args", "c", 0, "b"): "$..b"}),
        (["$.args.a", "args"], None),
    ],
)
def test_paths_name_places_and_one_that_fails_leaves_none_known(paths: list[str], places: Any) -> None:
    assert found({"args": {"a": 1, "c": [{"b": 2}]}}, paths) == places


def test_a_path_is_checked_before_it_is_used() -> None:
    assert [bool(check_path(path)) for path in ("$.args.a", "args.a", "args[")] == [False, False, True]
