"""The promise of the design, as a machine that lets anything happen in any order.

While fewer than `r` nodes are unreachable, every read returns the last acknowledged
write, or one that overlapped it or came later; and reads go on.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from amazin.membership.roster import Roster
from amazin.model.objects import ObjectName
from amazin.repair.report import Report
from tests.support.promise import Event, Gateway, World, is_allowed

MOST_NODES = 6
KEYS = [ObjectName("store", "abc"), ObjectName("store", "d")]
GATEWAYS = st.integers(0, 1)
NUMBERS = st.integers(0, 99)
SKEW_NS = 3600 * 10**9


class PromiseMachine(RuleBasedStateMachine):
    """Clients, nodes, operators and time, in any order."""

    name = st.sampled_from(KEYS)

    def __init__(self) -> None:
        super().__init__()
        self.world = self.new_world()
        self.reports: list[Report | None] = []
        self.checked = 0

    def new_world(self) -> World:
        """Return a world in which nothing has happened."""
        return World()

    def teardown(self) -> None:
        self.heal()
        for number in list(self.world.running):
            self.world.finish(number)
        self.check()
        for name in KEYS:
            self.finish("get", 0, name, False)
        self.check()
        for gateway in self.world.gateways:
            gateway.close()

    @precondition(lambda self: not self.world.gateways)
    @rule(
        count=st.integers(1, 5),
        replicas=st.integers(1, 3),
        first=st.integers(0, 9),
        skew_ns=st.sampled_from([SKEW_NS, 0]),
    )
    def begin_world(self, count: int, replicas: int, first: int, skew_ns: int) -> None:
        world = self.world
        self.skew_ns = skew_ns
        count = max(count, replicas)
        world.shown = {f"node-{number}": 1.0 for number in range(1, count + 1)}
        self.replicas = replicas
        world.gateways = [
            Gateway(world, replicas),
            Gateway(world, replicas, -skew_ns),
            Gateway(world, None),
        ]
        for gateway in world.gateways:
            gateway.membership.snapshot()

    def node(self, number: int) -> str:
        names = sorted(self.world.disks)
        return names[number % len(names)]

    def finish(
        self, kind: str, gateway: int, name: ObjectName, is_stream: bool
    ) -> Event:
        self.world.finish(self.world.operation(kind, gateway, name, is_stream))
        return self.world.history[-1]

    def check(self) -> None:
        """Judge the reads that have ended."""
        for event in self.world.history:
            if event.kind in ("get", "head") and event.outcome == "ok":
                assert is_allowed(self.world.history, event), event
        self.world.history = [
            event
            for event in self.world.history
            if event.kind not in ("get", "head") or event.end is None
        ]

    # Clients

    begun = precondition(lambda self: bool(self.world.gateways))

    @begun
    @rule(name=name, gateway=GATEWAYS, is_stream=st.booleans())
    def put(self, name: ObjectName, gateway: int, is_stream: bool) -> None:
        self.finish("put", gateway, name, is_stream)

    @begun
    @rule(name=name, gateway=GATEWAYS)
    def get(self, name: ObjectName, gateway: int) -> None:
        self.finish("get", gateway, name, False)
        self.check()

    @begun
    @rule(name=name, gateway=GATEWAYS)
    def head(self, name: ObjectName, gateway: int) -> None:
        self.finish("head", gateway, name, False)
        self.check()

    @begun
    @rule(gateway=GATEWAYS)
    def look_at_all(self, gateway: int) -> None:
        self.world.finish(self.world.listing(gateway, KEYS))
        self.check()

    @begun
    @rule(name=name, gateway=GATEWAYS)
    def delete(self, name: ObjectName, gateway: int) -> None:
        self.finish("delete", gateway, name, False)

    @precondition(lambda self: self.world.gateways and len(self.world.running) < 4)
    @rule(
        kind=st.sampled_from(["put", "put", "get", "delete"]),
        name=name,
        gateway=GATEWAYS,
        is_stream=st.booleans(),
        steps=st.integers(0, 6),
    )
    def begin(
        self, kind: str, name: ObjectName, gateway: int, is_stream: bool, steps: int
    ) -> None:
        """An operation that others overlap."""
        number = self.world.operation(kind, gateway, name, is_stream)
        self.step(number, steps)

    @precondition(lambda self: self.world.gateways and len(self.world.running) < 4)
    @rule(gateway=GATEWAYS, steps=st.integers(0, 6))
    def begin_list(self, gateway: int, steps: int) -> None:
        """A listing under which others write."""
        self.step(self.world.listing(gateway, KEYS), steps)

    def step(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if number in self.world.running:
                self.world.step(number)
        self.check()

    @precondition(lambda self: self.world.running)
    @rule(number=NUMBERS, steps=st.integers(1, 5))
    def go_on(self, number: int, steps: int) -> None:
        running = sorted(self.world.running)
        self.step(running[number % len(running)], steps)

    @precondition(lambda self: self.world.running)
    @rule(number=NUMBERS)
    def end(self, number: int) -> None:
        running = sorted(self.world.running)
        self.world.finish(running[number % len(running)])
        self.check()

    # Nodes

    @begun
    @rule(number=NUMBERS, fault=st.sampled_from(["down", "deaf"]))
    def fail(self, number: int, fault: str) -> None:
        self.world.faults[self.node(number)] = fault

    @precondition(lambda self: self.world.faults)
    @rule(number=NUMBERS)
    def recover(self, number: int) -> None:
        names = sorted(self.world.faults)
        del self.world.faults[names[number % len(names)]]

    @precondition(lambda self: self.world.faults)
    @rule()
    def heal(self) -> None:
        self.world.faults.clear()

    @begun
    @rule(number=NUMBERS)
    def lose_disk(self, number: int) -> None:
        if self.world.may_lose(self.node(number)):
            self.world.disks[self.node(number)].wipe()

    @begun
    @rule(number=NUMBERS, name=name)
    def rot(self, number: int, name: ObjectName) -> None:
        """The bytes of any copy are lost: reads may end, and never be wrong."""
        disk = self.world.disks[self.node(number)]
        if name in disk.objects:
            disk.damaged.add(name)

    @begun
    @rule(number=NUMBERS)
    def vanish(self, number: int) -> None:
        self.world.shown.pop(self.node(number), None)
        self.show()

    @begun
    @rule(number=NUMBERS)
    def come_back(self, number: int) -> None:
        self.world.shown.setdefault(self.node(number), 1.0)
        self.show()

    # Disks are full only where the clocks of gateways agree, and `repair` does not run
    # while a delete removes copies: `cluster/removals.py` says why.

    @precondition(lambda self: self.world.gateways and not self.skew_ns)
    @rule(number=NUMBERS, frees_at_once=st.booleans(), everything=st.booleans())
    def fill(self, number: int, frees_at_once: bool, everything: bool) -> None:
        if not self.is_repairing:
            full = list(self.world.disks) if everything else [self.node(number)]
            for name in full:
                self.world.disks[name].is_full = True
                self.world.disks[name].frees_at_once = frees_at_once

    @begun
    @rule()
    def make_room(self) -> None:
        for disk in self.world.disks.values():
            disk.is_full = False

    @precondition(lambda self: self.world.gateways and not self.skew_ns)
    @rule(name=name, gateway=GATEWAYS, frees_at_once=st.booleans())
    def delete_from_full_nodes(
        self, name: ObjectName, gateway: int, frees_at_once: bool
    ) -> None:
        """Where all nodes answer, full ones give the space back."""
        self.put(name, gateway, False)
        self.fill(0, frees_at_once, True)
        self.world.gateways[gateway].membership.refresh()
        event = self.finish("delete", gateway, name, False)
        roster = self.world.roster()
        if roster and roster.is_settled and not self.away(roster):
            assert event.outcome == "ok", event
        self.get(name, 1 - gateway)
        self.make_room()

    def away(self, roster: Roster) -> set[str]:
        """Nodes that don't answer, or don't count as answering."""
        away = set(self.world.faults) | self.world.gone()
        return away | (roster.holders - self.world.shown.keys())

    @property
    def is_repairing(self) -> bool:
        return any(event is None for _, event in self.world.running.values())

    def begin_repair(self) -> int | None:
        """Begin it, unless a delete is removing copies from full nodes."""
        events = [event for _, event in self.world.running.values()]
        if any(event and event.met_full for event in events):
            return None
        self.make_room()
        return self.world.repair(self.world.gateways[2], self.reports)

    # Likely ways to be wrong

    kind = st.sampled_from(["put", "put", "get", "delete"])

    @begun
    @rule(kind=kind, name=name, gateway=GATEWAYS, number=NUMBERS)
    def operate_while_away(
        self, kind: str, name: ObjectName, gateway: int, number: int
    ) -> None:
        """A node misses an operation."""
        self.world.faults[self.node(number)] = "down"
        self.finish(kind, gateway, name, False)
        self.check()
        self.world.faults.pop(self.node(number), None)

    @begun
    @rule(
        kind=kind,
        name=name,
        gateway=GATEWAYS,
        is_stream=st.booleans(),
        steps=st.integers(1, 12),
        number=NUMBERS,
        fault=st.sampled_from(["down", "deaf"]),
    )
    def fail_in_the_middle(
        self,
        kind: str,
        name: ObjectName,
        gateway: int,
        is_stream: bool,
        steps: int,
        number: int,
        fault: str,
    ) -> None:
        operation = self.world.operation(kind, gateway, name, is_stream)
        self.step(operation, steps)
        self.world.faults[self.node(number)] = fault
        self.world.finish(operation)
        self.check()
        self.world.faults.pop(self.node(number), None)

    @begun
    @rule(
        kind=kind,
        name=name,
        gateway=GATEWAYS,
        is_stream=st.booleans(),
        steps=st.integers(1, 8),
        change=st.sampled_from(["join", "drain", "drain", "nothing"]),
        rounds=st.integers(1, 4),
    )
    def change_in_the_middle(
        self,
        kind: str,
        name: ObjectName,
        gateway: int,
        is_stream: bool,
        steps: int,
        change: str,
        rounds: int,
    ) -> None:
        """The set of nodes changes under an operation."""
        operation = self.world.operation(kind, gateway, name, is_stream)
        self.step(operation, steps)
        if change == "join" and len(self.world.disks) < MOST_NODES:
            self.join()
        elif change == "drain":
            self.drain_home(name)
        self.calm(rounds, True)
        self.put(name, 1 - gateway, False)
        self.world.finish(operation)
        self.check()

    @precondition(lambda self: self.world.gateways and not self.world.running)
    @rule(
        kind=kind,
        name=name,
        gateway=GATEWAYS,
        steps=st.integers(1, 12),
    )
    def write_under_repair(
        self, kind: str, name: ObjectName, gateway: int, steps: int
    ) -> None:
        number = self.begin_repair()
        assert number
        self.step(number, steps)
        self.finish(kind, gateway, name, False)
        self.world.finish(number)
        self.get(name, gateway)

    def drain_home(self, name: ObjectName) -> str:
        """Let the best node of a key be emptied; returns which it was."""
        roster = self.world.roster()
        if roster is None or not roster.settled:
            return ""
        best = roster.settled.home(name.hash_key)[0]
        if best in self.world.shown:
            self.world.shown[best] = 0.0
            self.show()
        return best

    @precondition(lambda self: self.world.gateways and not self.world.running)
    @rule(name=name, gateway=GATEWAYS, steps=st.integers(1, 12))
    def write_while_it_moves(self, name: ObjectName, gateway: int, steps: int) -> None:
        """`repair` brings a key to its next home while a client writes it there."""
        self.put(name, gateway, False)
        self.drain_home(name)
        self.calm(2, False)
        self.write_under_repair("put", name, gateway, steps)
        self.get(name, 1 - gateway)

    @precondition(lambda self: self.world.gateways and not self.world.running)
    @rule(name=name)
    def write_by_an_older_roster(self, name: ObjectName) -> None:
        """A gateway saw that a change was announced, and not yet that it is open."""
        world = self.world
        self.put(name, 1, False)
        self.drain_home(name)
        self.heal_if_needed()
        for gateway in world.gateways:
            gateway.membership.refresh()
        world.now += 16
        self.restart(0, self.replicas)
        world.now += 5
        world.gateways[1].membership.refresh()
        self.repair(0, True)
        self.put(name, 0, False)
        world.gateways[1].membership.refresh()
        self.get(name, 1)

    @precondition(lambda self: self.world.gateways and not self.world.running)
    @rule(name=name)
    def read_by_an_older_roster(self, name: ObjectName) -> None:
        """A gateway has not seen yet that a change was announced."""
        world = self.world
        self.heal_if_needed()
        self.put(name, 1, False)
        world.gateways[1].membership.refresh()
        self.drain_home(name)
        world.gateways[0].membership.refresh()
        world.now += 4
        world.gateways[0].membership.refresh()
        self.put(name, 0, False)
        self.get(name, 1)

    @precondition(lambda self: self.world.gateways and not self.world.running)
    @rule(name=name, gateway=GATEWAYS, steps=st.integers(1, 8))
    def leave_something_behind(
        self, name: ObjectName, gateway: int, steps: int
    ) -> None:
        """An upload ends on a node that the key left, and comes back to, deleted."""
        operation = self.world.operation("put", gateway, name, False)
        self.step(operation, steps)
        left = self.drain_home(name)
        self.calm(2, True)
        self.world.finish(operation)
        self.get(name, 1 - gateway)
        self.delete(name, gateway)
        self.drain_home(name)
        if left in self.world.shown:
            self.world.shown[left] = 1.0
            self.show()
        self.calm(1, False)
        self.get(name, gateway)

    def heal_if_needed(self) -> None:
        if self.world.faults:
            self.heal()

    # The operator

    def show(self) -> None:
        for gateway in self.world.gateways:
            gateway.discovery.specs = self.world.specs()

    @precondition(
        lambda self: self.world.gateways and len(self.world.disks) < MOST_NODES
    )
    @rule()
    def join(self) -> None:
        self.world.shown[f"node-{len(self.world.disks) + 1}"] = 1.0
        self.show()

    @begun
    @rule(number=NUMBERS, weight=st.sampled_from([0.0, 0.0, 1.0, 4.0]))
    def weigh(self, number: int, weight: float) -> None:
        if self.node(number) in self.world.shown:
            self.world.shown[self.node(number)] = weight
            self.show()

    @begun
    @rule(number=NUMBERS, is_kept=st.booleans())
    def forget(self, number: int, is_kept: bool) -> None:
        """A node is given up; its disk comes back later with all it held, or empty."""
        name = self.node(number)
        if not self.world.may_lose(name):
            return
        self.world.faults[name] = "down"
        gateway = self.world.gateways[2]
        gateway.membership.refresh()
        roster = gateway.membership.snapshot().roster
        if roster and name in roster.holders:
            try:
                is_done = self.world.forget(gateway, name)
            except Exception:  # noqa: BLE001 - too few would be left
                is_done = False
            if is_done:
                self.world.shown.pop(name, None)
                self.show()
                if not is_kept:
                    self.world.disks[name].wipe()

    @begun
    @rule(gateway=GATEWAYS, replicas=st.integers(1, 3))
    def restart(self, gateway: int, replicas: int) -> None:
        """A gateway comes back with nothing but its settings, maybe another r."""
        world = self.world
        if any(event for _, event in world.running.values()):
            return  # operations of the old process end with it: not modelled
        roster = world.roster()
        if roster and not world.shown.keys() & world.holders():
            return  # nothing could tell it that there are other nodes
        skew = -self.skew_ns if gateway else 0
        world.gateways[gateway].close()
        world.gateways[gateway] = Gateway(world, replicas, skew)
        world.gateways[gateway].membership.snapshot()

    @precondition(
        lambda self: (
            self.world.gateways
            and not any(event is None for _, event in self.world.running.values())
        )
    )
    @rule(steps=st.integers(0, 30), ends=st.booleans())
    def repair(self, steps: int, ends: bool) -> None:
        number = self.begin_repair()
        if number is None:
            return
        if ends:
            self.world.finish(number)
        else:
            self.step(number, steps)

    # Time

    @begun
    @rule(seconds=st.sampled_from([0.1, 4.0, 16.0, 21.0, 90000.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds

    @begun
    @rule(gateway=st.integers(0, 2))
    def refresh(self, gateway: int) -> None:
        self.world.gateways[gateway].membership.refresh()

    @begun
    @rule(rounds=st.integers(1, 4), repairs=st.booleans())
    def calm(self, rounds: int, repairs: bool) -> None:
        """Nothing fails for a while: changes get on."""
        self.heal()
        for _ in range(rounds):
            for gateway in self.world.gateways:
                gateway.membership.refresh()
            self.world.now += 21
        if repairs and not any(e is None for _, e in self.world.running.values()):
            self.repair(0, True)

    # Availability

    @begun
    @rule(name=name, gateway=GATEWAYS, writes=st.booleans())
    def must_go_on(self, name: ObjectName, gateway: int, writes: bool) -> None:
        """With fewer than r nodes away reads go on, and mostly writes."""
        self.world.gateways[gateway].membership.refresh()
        roster = self.world.roster()
        if roster is None or roster.settled is None or roster.next:
            return
        nodes = roster.settled
        if len(self.away(roster) & nodes.names) >= nodes.replicas:
            return
        if any(disk.damaged for disk in self.world.disks.values()):
            return  # of its key, the node with a damaged copy may be one too many
        self.make_room()
        event = self.finish("get", gateway, name, False)
        assert event.outcome == "ok", event
        if writes and len(nodes.weights) >= 2 * nodes.replicas - 1:
            event = self.finish("put", gateway, name, False)
            assert event.outcome == "ok", event
        self.world.finish(self.world.listing(gateway, KEYS))
        assert self.world.history[-1].outcome == "ok"
        self.check()
