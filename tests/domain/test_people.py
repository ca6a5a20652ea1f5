"""The directory: who is in which group, and what outside names fill."""

from broker.domain.people import Group, People, Person

PEOPLE = People(
    persons={"jane@x": Person("jane@x", "Jane", "U1")},
    groups={
        "finance": Group("finance", ("al@x", "jane@x")),
        "on-call": Group("on-call", ("jane@x",), idp="oncall", slack="S1"),
        "empty": Group("empty", slack="S2"),
    },
)


def test_groups_of_a_person_are_sorted() -> None:
    assert PEOPLE.groups_of("jane@x") == ("finance", "on-call")
    assert PEOPLE.groups_of("nobody@x") == ()


def test_members_of_an_unknown_group_are_none() -> None:
    assert PEOPLE.members("finance") == {"jane@x", "al@x"}
    assert PEOPLE.members("nonsense") == frozenset()


def test_outside_names_vouch_for_the_groups_that_name_them() -> None:
    assert PEOPLE.vouched(("oncall", "S2", "finance")) == ("empty", "on-call")


def test_an_empty_outside_name_vouches_for_nothing() -> None:
    assert PEOPLE.vouched(("",)) == ()


def test_an_unknown_person_is_shown_by_address() -> None:
    assert PEOPLE.person("al@x").shown == "al@x"
    assert PEOPLE.person("jane@x").shown == "Jane"


def test_outside_members_are_added_and_the_directory_stays() -> None:
    more = PEOPLE.with_members({"empty": frozenset({"zed@x", "al@x"}), "nonsense": frozenset({"eve@x"})})
    assert more == People(PEOPLE.persons, {**PEOPLE.groups, "empty": Group("empty", ("al@x", "zed@x"), slack="S2")})
    assert PEOPLE.members("empty") == frozenset()
