"""The roster: the set of nodes, as the nodes themselves store it. Pure.

Every node holds a copy of the `Roster`; the gateways have no other memory.
`transitions.py` decides how it changes, `roster_store.py` reads and writes the copies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from amazin.errors import RosterError
from hashing import Ranker

FORMAT = 1
WAIT_SECONDS = 20.0
"""The default of `Roster.wait_seconds`."""


@dataclass(frozen=True)
class NodeSet:
    """The parameters of placement: they decide where a key's copies are."""

    replicas: int
    """The number of nodes that store each object, called `r`."""
    weights: Mapping[str, float]
    """By stable name; above 0."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The mirror sets by node name; nodes in the group "" are left out."""
    group_weights: Mapping[str, float] = field(default_factory=dict)
    """By group; weights of 1 are left out."""
    epoch: int = 0
    """The generation that introduced this set; later sets have a greater epoch."""

    @cached_property
    def ranker(self) -> Ranker:
        """Ranks these nodes for a key."""
        return Ranker(self.weights, self.groups, self.group_weights)

    @property
    def names(self) -> Set[str]:
        """The stable names of the nodes."""
        return self.weights.keys()

    def home(self, hash_key: bytes) -> list[str]:
        """Return the first `home_size` names of the key's ranking."""
        return self.ranker.first(hash_key, self.home_size)

    @cached_property
    def home_size(self) -> int:
        """The number of nodes in a key's home: `m = min(2r-1, n)`."""
        return min(2 * self.replicas - 1, len(self.weights))

    @cached_property
    def read_count(self) -> int:
        """How many nodes of the home must answer a read: `max(1, m-r+1)`."""
        return max(1, self.home_size - self.replicas + 1)

    def without(self, names: Set[str]) -> NodeSet:
        """Return the same set without some nodes."""
        weights = {name: w for name, w in self.weights.items() if name not in names}
        groups = {name: g for name, g in self.groups.items() if name not in names}
        return replace(self, weights=weights, groups=groups)

    def places_like(self, other: NodeSet) -> bool:
        """Whether both sets place every key on the same nodes."""
        return self == replace(other, epoch=self.epoch)


@dataclass(frozen=True)
class Roster:
    """One generation of the roster."""

    cluster: str
    """The cluster's random id, made when it was formed."""
    generation: int
    settled: NodeSet | None
    """The set by which all data is placed; None: data may be on any node."""
    next: NodeSet | None = None
    """The set to which the data is being moved; None: no change is under way."""
    is_open: bool = False
    """Whether writes use `next` already."""
    is_new: bool = False
    """Nothing is stored yet: `next` may be settled without `repair`."""
    forgotten: tuple[str, ...] = ()
    """Nodes in `settled` that were given up: nothing waits for them."""
    leaving: tuple[str, ...] = ()
    """Nodes outside both sets that still have to receive this generation."""
    absorbed: tuple[str, ...] = ()
    """Other clusters that were merged into this one."""
    wait_seconds: float = WAIT_SECONDS
    """How long each step of a change waits. A gateway may use a roster that it read for
    three quarters of this. Set when the cluster is formed, so that it is the same for
    all."""
    held: tuple[str, ...] = ()
    """If `settled` is None: the nodes that held data before."""

    @property
    def sets(self) -> tuple[NodeSet, ...]:
        """`settled` and `next`, without None."""
        return tuple(nodes for nodes in (self.settled, self.next) if nodes)

    @property
    def newest(self) -> NodeSet:
        """`next`, or else `settled`."""
        return self.sets[-1]

    @cached_property
    def write_set(self) -> NodeSet | None:
        """The set that writes use; None: writes have to wait."""
        return self.next if self.is_open else self.settled

    @cached_property
    def replicas(self) -> int:
        """The number of nodes of the home that must have a write."""
        return (self.write_set or self.newest).replicas

    @property
    def is_settled(self) -> bool:
        """Whether no change is under way."""
        return self.next is None

    @property
    def names(self) -> frozenset[str]:
        """All nodes that the roster names."""
        return frozenset(self.leaving).union(*(nodes.names for nodes in self.sets))

    @property
    def holders(self) -> frozenset[str]:
        """The nodes that must hold a copy of the roster."""
        return self.names - set(self.forgotten)

    @property
    def data_nodes(self) -> frozenset[str]:
        """The nodes that hold data. One of these without a copy has lost its disk."""
        open_set = self.next.names if self.next and self.is_open else set()
        settled = self.settled.names if self.settled else set()
        leaving = self.leaving if self.is_open and not self.settled else ()
        return frozenset(settled | open_set).union(leaving, self.held)

    def dump(self, holder: str) -> bytes:
        """Return the copy for the node `holder`."""
        value = {"format": FORMAT, "holder": holder, **asdict(self)}
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def load(cls, data: bytes, holder: str) -> Roster:
        """Parse what `dump` returned. Raises: RosterError, also for another holder."""
        try:
            value = json.loads(data)
            if value.pop("format") != FORMAT:
                raise RosterError("the node's roster has an unknown format")
            if value.pop("holder") != holder:
                raise RosterError("the node's roster is that of another node")
            for name in ("settled", "next"):
                value[name] = value[name] and NodeSet(**value[name])
            for name in ("forgotten", "leaving", "absorbed", "held"):
                value[name] = tuple(value[name])
            roster = cls(**value)
            names = (*roster.forgotten, *roster.leaving, *roster.absorbed, *roster.held)
            is_sound = all(isinstance(name, str) for name in names)
            is_sound = is_sound and roster.wait_seconds > 0
            if not roster.sets or type(roster.generation) is not int or not is_sound:
                raise RosterError("the node's roster says nothing")
            for nodes in roster.sets:
                # The call also raises for invalid values.
                if not nodes.home(roster.cluster.encode()):
                    raise RosterError("the node's roster names no node")
            return roster
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise RosterError("the node's roster can't be read") from exc


def newest(rosters: Iterable[Roster]) -> list[Roster]:
    """Return the newest roster of each cluster that was not merged into another one.

    Normally that is a single roster. Two gateways may have made the same generation at
    once, if one of them had given up a node; then every gateway chooses the same of the
    two.
    """
    best: dict[str, Roster] = {}
    for roster in rosters:
        other = best.get(roster.cluster)
        if other is None or _is_newer(roster, other):
            best[roster.cluster] = roster
    absorbed = {name for roster in best.values() for name in roster.absorbed}
    return [best[name] for name in sorted(best) if name not in absorbed]


def _is_newer(roster: Roster, other: Roster) -> bool:
    if roster.generation != other.generation or roster == other:
        return roster.generation > other.generation
    return roster.dump("") > other.dump("")
