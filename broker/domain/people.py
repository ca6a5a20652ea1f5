"""People and their groups, as `policies/people.yaml` and the directories give them."""

from __future__ import annotations

import msgspec


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """One human. `id` is the e-mail address that policy files name."""

    id: str
    name: str = ""
    slack_id: str = ""

    @property
    def shown(self) -> str:
        return self.name or self.id


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Members written down; `idp` and `slack` name outside groups that fill it as well."""

    name: str
    members: tuple[str, ...] = ()
    idp: str = ""
    slack: str = ""


class People(msgspec.Struct, frozen=True):
    """The directory of the policy folder. Outside members are added by `with_members`."""

    persons: dict[str, Person] = msgspec.field(default_factory=dict)
    groups: dict[str, Group] = msgspec.field(default_factory=dict)

    def person(self, person_id: str) -> Person:
        return self.persons.get(person_id, Person(id=person_id))

    def groups_of(self, person_id: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, group in self.groups.items() if person_id in group.members))

    def vouched(self, outside: tuple[str, ...]) -> tuple[str, ...]:
        """The groups that outside names fill: an identity provider's claim values and Slack user group ids."""
        told = set(outside)
        return tuple(sorted(name for name, group in self.groups.items() if told & {group.idp, group.slack} - {""}))

    def members(self, group: str) -> frozenset[str]:
        return frozenset(self.groups[group].members) if group in self.groups else frozenset()

    def with_members(self, outside: dict[str, frozenset[str]]) -> People:
        """Return the directory with the members that outside directories name for a group."""
        groups = {
            name: msgspec.structs.replace(group, members=tuple(sorted({*group.members, *outside.get(name, ())})))
            for name, group in self.groups.items()
        }
        return People(persons=self.persons, groups=groups)


class Reviewer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person who acts through a channel. `groups` are those that the sign-in vouches for, beside the directory's."""

    person: str
    channel: str
    groups: tuple[str, ...] = ()
