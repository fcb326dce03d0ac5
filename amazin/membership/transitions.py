"""How the set of nodes changes, in small steps. Pure.

Each step is a new generation of the roster, which `roster_store.py` records on the
nodes:

    settled          all data is written and read by one set of nodes
    announced        a next set is known; writes still use the settled set
    open             writes use the next set; reads use both
    settled          `repair` has moved everything to the next set

The step to open, and the work of `repair`, wait until the previous generation was seen
on every node and no gateway can use an older one any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from amazin.errors import RosterError
from amazin.membership.roster import WAIT_SECONDS, NodeSet, Roster, newest


@dataclass(frozen=True)
class RosterView:
    """What a gateway has read from the nodes that it knows."""

    copies: Mapping[str, Roster]
    """The rosters, by the name of the node that holds the copy."""
    empty: frozenset[str] = frozenset()
    """Nodes that answered that they hold no roster."""
    with_data: frozenset[str] = frozenset()
    """Those nodes in `empty` that hold objects nevertheless."""
    unreachable: frozenset[str] = frozenset()
    """Nodes that gave no usable answer."""

    @cached_property
    def rosters(self) -> list[Roster]:
        """The newest roster of each cluster; see `newest`."""
        return newest(self.copies.values())

    @cached_property
    def roster(self) -> Roster | None:
        """The roster of the cluster; None: there is none, or there are several."""
        return self.rosters[0] if len(self.rosters) == 1 else None

    @property
    def names(self) -> frozenset[str]:
        """All nodes that the rosters name."""
        return frozenset().union(*(roster.names for roster in self.rosters))

    @property
    def is_confirmed(self) -> bool:
        """Whether a node that would know a newer roster holds this one."""
        roster = self.roster
        return roster is not None and any(
            self.copies.get(name) == roster
            for nodes in roster.sets
            for name in nodes.names
        )

    @cached_property
    def lost(self) -> frozenset[str]:
        """Nodes that held data, and answer with an empty disk."""
        data_nodes = (roster.data_nodes for roster in self.rosters)
        return self.empty & frozenset().union(*data_nodes)

    @property
    def is_recorded(self) -> bool:
        """Whether every node that must hold the roster does."""
        roster = self.roster
        return roster is not None and all(
            self.copies.get(name) == roster for name in roster.holders
        )

    @property
    def outdated(self) -> list[str]:
        """Nodes to which the roster must be written; never one that lost its disk."""
        roster = self.roster
        if roster is None:
            return []
        seen = self.empty.union(self.copies) - self.lost
        names = (roster.holders & seen) | self.copies.keys()
        return sorted(name for name in names if self.copies.get(name) != roster)


def arbiter(old: Roster | None, new: Roster) -> str:
    """Return the node on which the step from `old` to `new` is decided.

    The step is a conditional write on this node: if two gateways take it at once, one
    wins. No node that was given up decides, nor does it when that is settled.
    """
    base = old.sets[0] if old else new.sets[0]
    given_up = {*new.forgotten, *(old.forgotten if old else ())}
    return min(base.names - given_up or new.newest.names)


def bootstrap(
    view: RosterView, wanted: NodeSet, cluster: str, wait_seconds: float = WAIT_SECONDS
) -> Roster | None:
    """Return the first roster of nodes that hold none; None: not possible yet.

    Other programs, or an older release, may have put objects on any of the nodes.
    """
    if view.copies or view.unreachable or len(wanted.weights) < wanted.replicas:
        return None
    first = replace(wanted, epoch=1)
    leaving = tuple(sorted(view.empty - first.names))
    return Roster(
        cluster,
        1,
        None,
        first,
        is_new=not view.with_data,
        leaving=leaving,
        wait_seconds=wait_seconds,
    )


def step(view: RosterView, wanted: NodeSet, has_waited: bool) -> Roster | None:
    """Return the next generation if one is due, else None.

    `has_waited`: the roster was seen on all its holders so long ago that no gateway
    uses an older one.
    """
    if len(view.rosters) > 1:
        return _unite(view)
    roster = view.roster
    if roster is None:
        return None
    later = replace(roster, generation=roster.generation + 1)
    if roster.next is None:
        announced = _announce(later, view, wanted)
        if announced is None and roster.leaving and view.is_recorded:
            return replace(later, leaving=())
        return announced
    if roster.is_new:
        if not view.is_recorded:
            return None
        return replace(later, settled=roster.next, next=None, is_new=False)
    if not roster.is_open and has_waited:
        return replace(later, is_open=True)
    return None


def _announce(later: Roster, view: RosterView, wanted: NodeSet) -> Roster | None:
    settled = later.settled
    if settled is None or settled.places_like(wanted):
        return None
    if len(wanted.weights) < wanted.replicas:
        return None
    target = replace(wanted, epoch=later.generation)
    if view.with_data & wanted.names - settled.names:
        return _unsettle(later, target)
    return replace(later, next=target, is_open=False, leaving=())


def _unsettle(later: Roster, target: NodeSet) -> Roster:
    """Return a generation in which data may be on any node; `target` comes next."""
    others = later.names - target.names - set(later.forgotten)
    return replace(
        later,
        settled=None,
        next=target,
        is_open=False,
        is_new=False,
        leaving=tuple(sorted(others)),
        held=tuple(sorted(later.data_nodes.difference(later.forgotten))),
    )


def _unite(view: RosterView) -> Roster | None:
    """Return one cluster made of several; None until all their nodes hold a roster."""
    rosters = view.rosters
    names = frozenset().union(*(roster.holders for roster in rosters))
    if not names <= view.copies.keys():
        return None
    sets = [roster.newest for roster in rosters]
    target = NodeSet(
        max(nodes.replicas for nodes in sets),
        {name: w for nodes in sets for name, w in nodes.weights.items()},
        {name: g for nodes in sets for name, g in nodes.groups.items()},
        {name: w for nodes in sets for name, w in nodes.group_weights.items()},
        epoch=max(roster.generation for roster in rosters) + 1,
    )
    clusters = {roster.cluster for roster in rosters}
    absorbed = clusters.union(*(roster.absorbed for roster in rosters))
    return Roster(
        "+".join(sorted(clusters)),
        target.epoch,
        None,
        target,
        is_new=all(roster.is_new for roster in rosters),
        leaving=tuple(sorted(names - target.names)),
        absorbed=tuple(sorted(absorbed)),
        wait_seconds=max(roster.wait_seconds for roster in rosters),
        held=tuple(sorted(frozenset().union(*(r.data_nodes for r in rosters)) & names)),
    )


def settle(roster: Roster) -> Roster:
    """Return the generation after `repair` has moved everything to `next`."""
    if roster.next is None or not roster.is_open:
        raise RosterError("there is nothing to settle")
    return replace(
        roster,
        generation=roster.generation + 1,
        settled=roster.next,
        next=None,
        is_open=False,
        forgotten=(),
        held=(),
        leaving=tuple(sorted(roster.holders - roster.next.names)),
    )


def forget(roster: Roster, names: Set[str]) -> Roster:
    """Return the generation that gives up nodes, with everything on them.

    Raises: RosterError, if the roster has no such nodes, or too few would be left.
    """
    unknown = names - roster.names
    if unknown:
        raise RosterError(f"unknown: {', '.join(sorted(unknown))}")
    target = roster.newest.without(names)
    if len(target.weights) < target.replicas:
        raise RosterError(
            f"{len(target.weights)} nodes would be left for {target.replicas} replicas"
        )
    generation = roster.generation + 1
    later = replace(
        roster,
        generation=generation,
        forgotten=tuple(sorted({*roster.forgotten, *names})),
        leaving=tuple(name for name in roster.leaving if name not in names),
    )
    target = replace(target, epoch=generation)
    if roster.settled is None or roster.is_open:
        return _unsettle(later, target)
    if target.places_like(roster.settled):
        return replace(later, next=None, forgotten=())
    return replace(later, next=target)


class DesiredNodes:
    """What one gateway's settings ask for, and which of that was granted before.

    If something that was granted has another value now, another gateway has changed it.
    That change prevails; so two gateways that disagree don't undo each other's changes
    for ever.
    """

    def __init__(self, replicas: int, group_weights: Mapping[str, float]) -> None:
        weights = {group: w for group, w in group_weights.items() if w != 1}
        self._settings = (replicas, weights)
        self._granted: dict[str, Any] = {}
        self.replicas = replicas

    def wanted(
        self, current: NodeSet | None, offered: Iterable[tuple[str, float, str]]
    ) -> NodeSet:
        """Return the set of nodes to propose; `current`, if it is as desired.

        `offered` are the nodes that discovery finds, as (name, weight, group). Nodes
        that it doesn't find stay as they are; new ones are always added.
        """
        base = current or NodeSet(0, {})
        weights, groups = dict(base.weights), dict(base.groups)
        for name, weight, group in offered:
            now = current and (weights.get(name, 0.0), groups.get(name, ""))
            is_new = name not in weights and weight > 0
            if self._is_granted(name, (weight, group), now) and not is_new:
                continue
            weights.pop(name, None)
            groups.pop(name, None)
            if weight > 0:
                weights[name] = weight
                groups.update({name: group} if group else {})
        settings = (base.replicas, dict(base.group_weights))
        if not self._is_granted("/settings", self._settings, settings):
            settings = self._settings
        return NodeSet(settings[0], weights, groups, settings[1], base.epoch)

    def _is_granted(self, what: str, asked: Any, now: Any) -> bool:
        if asked == now:
            self._granted[what] = asked
        return bool(self._granted.get(what) == asked)
