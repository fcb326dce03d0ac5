"""What a process knows of the nodes at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from amazin.errors import NodeUnreachableError
from amazin.membership.member import UP, Member
from amazin.membership.roster import Roster
from amazin.membership.transitions import RosterView
from amazin.units import counted


@dataclass(frozen=True)
class Snapshot:
    """The nodes and their roster at one moment."""

    members: dict[str, Member]
    """By stable name."""
    view: RosterView
    """The rosters that the nodes were seen to hold."""
    problem: str
    """Why there may be fewer nodes than there should be; "" if there is no problem."""
    fresh_until: float = field(default=0.0, compare=False)
    """Until when this roster may be used, on the monotonic clock."""
    confirmed_at: float = field(default=-math.inf, compare=False)
    """When enough nodes last confirmed the roster, on the monotonic clock."""
    found_at: float = field(default=0.0, compare=False)
    """When the list of nodes was last got, as Unix time; 0: never."""
    replicas: int = 0
    """The number of copies that the settings ask for; 0: not known."""

    @cached_property
    def roster(self) -> Roster | None:
        """The roster of the cluster; None: there is none, or there are several."""
        return self.view.roster

    @cached_property
    def lost(self) -> frozenset[str]:
        """The nodes that answer with an empty disk, although they held data."""
        return self.view.lost

    @property
    def is_empty(self) -> bool:
        """Whether all nodes answered and none of them ever stored anything."""
        view = self.view
        is_blocked = view.copies or view.unreachable or view.with_data
        return bool(view.empty) and not is_blocked

    @property
    def shortage(self) -> str:
        """Return a sentence if there are fewer nodes than copies; "" otherwise."""
        names = {
            name
            for name, member in self.members.items()
            if member.spec.endpoint and member.spec.weight
        }
        if self.roster:
            names |= self.roster.newest.names
        if not names or len(names) >= self.replicas:
            return ""
        found = f"{counted(len(names), 'node')} {'was' if len(names) == 1 else 'were'}"
        return f"REPLICAS is {self.replicas}, but only {found} found"

    @property
    def reason(self) -> str:
        """Why the nodes can't be used now, as a sentence for clients."""
        if not self.members:
            return self.problem or "No storage node was found"
        if self.roster is None and self.shortage:
            return self.shortage
        if self.is_empty:
            return "Nothing is stored yet; a first upload needs REPLICAS nodes"
        if self.view.unreachable:
            away = [self.members[name] for name in self.view.unreachable]
            states = {member.state for member in away}
            states -= {UP, NodeUnreachableError.state}
            why = f" ({', '.join(sorted(states))})" if states else ""
            answer = all(m.refusal and not m.is_skipped for m in away)
            if answer and not self.view.copies:
                return f"The first upload needs all nodes, and not all store now{why}"
            return f"Too few nodes answer to know where objects are{why}"
        return "The set of nodes is changing; try again in a moment"
