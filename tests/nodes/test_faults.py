"""The promises about replicas, over real sockets that fail in all ways they can.

Each node is an S3 server in memory, or a MinIO, behind a proxy of ours.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from amazin.errors import GatewayError, NodeError, NoNodesError
from amazin.model.node_specs import TimeLimits
from amazin.model.objects import CHUNK_BYTES, ROSTER_NAME, ObjectInfo, ObjectName
from amazin.nodes.s3.node import S3Node
from amazin.repair.report import Report
from tests.support.faulty import (
    FAULTS,
    KINDS,
    LIES,
    LISTING_TOO_SHORT,
    QUICK_FAULTS,
    SLOW_FAULTS,
    Fault,
    Server,
    late,
)
from tests.support.memory_s3 import MemoryS3, Request
from tests.support.proxied import IMPATIENT, PATIENT, Gateway, Site, in_parallel
from tests.support.servers import MinioServer
from tests.support.world import read

OLD, NEW = b"old words", b"new words, and more of them"
LARGE = random.Random(1).randbytes(CHUNK_BYTES + 50_000)
NEW_LARGE = random.Random(2).randbytes(CHUNK_BYTES + 70_000)
DONE = "done"
TOO_BAD = (NodeError, NoNodesError)

AIMED = [*QUICK_FAULTS, *SLOW_FAULTS]


# What is done, and what has to come of it.


@dataclass(frozen=True)
class Operation:
    """Something that a client does."""

    name: str
    act: Callable[[Gateway, ObjectName], object]
    before: bytes | None
    after: bytes | None
    result: object
    kinds: Sequence[str]
    """What nodes are asked for it."""


def put(body: bytes) -> Callable[[Gateway, ObjectName], object]:
    def act(gateway: Gateway, name: ObjectName) -> object:
        gateway.put(name, body)
        return DONE

    return act


def delete(gateway: Gateway, name: ObjectName) -> object:
    gateway.delete(name)
    return DONE


def read_part(gateway: Gateway, name: ObjectName) -> object:
    def choose(info: ObjectInfo) -> tuple[int, int]:
        return (7, info.size - 9)

    return read(gateway.cluster.get(name, choose))


def size(gateway: Gateway, name: ObjectName) -> object:
    return gateway.cluster.head(name).info.size


def writing(name: str, body: bytes, before: bytes | None) -> Operation:
    return Operation(name, put(body), before, body, DONE, ("PUT", "HEAD"))


def reading(name: str, body: bytes | None) -> Operation:
    return Operation(name, Gateway.read, body, body, body, ("GET", "HEAD"))


OPERATIONS = [
    writing("put", NEW, OLD),
    writing("first put", NEW, None),
    writing("large put", NEW_LARGE, LARGE),
    reading("get", OLD),
    reading("large get", LARGE),
    reading("get of nothing", None),
    Operation("get of a part", read_part, LARGE, LARGE, LARGE[7:-8], ("GET", "HEAD")),
    Operation("head", size, OLD, OLD, len(OLD), ("HEAD",)),
    Operation("delete", delete, OLD, None, DONE, ("PUT", "HEAD")),
]


@dataclass(frozen=True)
class Case:
    """An operation, and where the faulty nodes are in the ranking."""

    operation: Operation
    name: ObjectName
    spots: tuple[int, ...]
    kind: str = ""
    """Which kind of requests meets the fault; empty: all."""

    def __str__(self) -> str:
        aim = f", at {self.kind}" if self.kind else ""
        return f"{self.operation.name}{aim}, faulty are {self.spots}"


Outcome = object | GatewayError


def attempt(case: Case, gateway: Gateway) -> Outcome:
    try:
        return case.operation.act(gateway, case.name)
    except GatewayError as exc:
        return exc


def prepare(site: Site, cases: Sequence[Case]) -> None:
    with site.gateway() as gateway:

        def store(case: Case) -> None:
            if case.operation.before is not None:
                gateway.put(case.name, case.operation.before)

        in_parallel(store, cases)


def run(
    site: Site, cases: Sequence[Case], fault: Fault, bad: Sequence[str]
) -> list[Outcome]:
    """Do all at once, each by a gateway of its own."""
    prepare(site, cases)
    with site.gateways(len(cases), limits_for(fault)) as gateways:
        set_faults(site, cases, fault, bad)
        hits = site.hits
        try:
            outcomes = in_parallel(attempt, cases, gateways)
        finally:
            site.heal()
        assert site.hits > hits or not any(case.kind for case in cases)
        if fault.is_harmless:
            assert not any(gateway.skipped for gateway in gateways)
    return outcomes


def set_faults(
    site: Site, cases: Sequence[Case], fault: Fault, bad: Sequence[str]
) -> None:
    if not cases[0].kind:
        site.fail(bad, fault)
        return
    kinds = {case.name.key: case.kind for case in cases}
    site.fail(bad, fault, lambda request: kinds.get(request.key) == request.kind)


def limits_for(fault: Fault) -> TimeLimits:
    return IMPATIENT if fault.is_slow else PATIENT


# Where.


@pytest.fixture(scope="module")
def minio_servers(new_minio: Callable[[], MinioServer]) -> list[MinioServer]:
    servers = [new_minio() for _ in range(5)]
    in_parallel(MinioServer.start, servers)
    return servers


def wipe(servers: Sequence[MinioServer]) -> None:
    for server in servers:
        node = S3Node(server.spec("node"), PATIENT)
        for bucket in ("store", ROSTER_NAME.bucket):
            for key, _ in node.list_objects(bucket):
                node.start_delete(ObjectName(bucket, key)).wait()
        node.close()


def new_site(request: pytest.FixtureRequest, kind: str, replicas: int, n: int) -> Site:
    if kind == "memory":
        return Site([MemoryS3() for _ in range(n)], replicas)
    servers = request.getfixturevalue("minio_servers")[:n]
    wipe(request.getfixturevalue("minio_servers"))
    keys = [(server.access_key, server.secret_key) for server in servers]
    return Site([Server(server.port) for server in servers], replicas, keys)


SIZES = {1: 3, 2: 3, 3: 5}
"""How many nodes there are, by replicas."""


FEW = (
    "refused",
    "request reset in its body",
    "request reset at its last byte",
    "done but answer lost",
    "half a body",
    "503",
)
REAL_FAULTS = (*FEW, "silent")
"""With real servers some are enough: a proxy's faults are the same in front of both."""
QUICK = tuple(fault.name for fault in FAULTS if not fault.is_slow)
MOST = (*QUICK, "silent", "silent in its body", "just in time")


def rows(faults: Sequence[Fault], everyday: Sequence[str], *replicas: int) -> list[Any]:
    """Return kind of nodes, replicas and fault, each with its mark.

    Everyday's are these faults at nodes in memory, with the least replicas. Slow faults
    are tried with these only, and real servers too.
    """
    least, *_ = replicas
    found = []
    for r, fault in itertools.product(replicas, faults):
        if r == least or not fault.is_slow:
            marks = [] if r == least and fault.name in everyday else [pytest.mark.slow]
            name = f"{fault}-memory-{r}"
            found.append(pytest.param(("memory", r), fault, marks=marks, id=name))
    for fault in faults:
        if fault.name in REAL_FAULTS:
            mark, name = pytest.mark.integration, f"{fault}-minio-{least}"
            found.append(pytest.param(("minio", least), fault, marks=mark, id=name))
    return found


def table(
    faults: Sequence[Fault], *replicas: int, everyday: Sequence[str] = QUICK
) -> pytest.MarkDecorator:
    """Run a test with each fault, on sites of so many replicas."""
    found = rows(faults, everyday, *replicas)
    return pytest.mark.parametrize("site, fault", found, indirect=["site"])


def repair_table(faults: Sequence[Fault]) -> pytest.MarkDecorator:
    """The same for `repair_site`."""
    found = rows(faults, FEW, 2)
    return pytest.mark.parametrize(
        "repair_site, fault", found, indirect=["repair_site"]
    )


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    kind, replicas = request.param
    with new_site(request, kind, replicas, SIZES[replicas]) as site:
        yield site


def bad_nodes(count: int) -> list[str]:
    return [f"node-{number}" for number in range(1, count + 1)]


def places(site: Site, count: int, most: int = 3) -> list[tuple[int, ...]]:
    """All places that so many faulty nodes can have; of many, some that differ."""
    found = list(itertools.combinations(range(len(site.proxies)), count))
    return found if len(found) < 10 else [found[0], *found[4::3]][:most]


def views(site: Site, bad: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Which nodes are away later, so that the formerly faulty ones have to answer."""
    good = [name for name in site.proxies if name not in bad]
    yield from itertools.islice(itertools.combinations(good, site.replicas - 1), 2)


def later(
    site: Site, names: Sequence[ObjectName], bad: Sequence[str]
) -> list[list[bytes | None]]:
    """What fresh gateways read of each name afterwards, by name."""
    found = []
    for away in dict.fromkeys(views(site, bad)):
        with site.gateway(away) as gateway:
            found.append(in_parallel(gateway.read_later, names))
    return [list(seen) for seen in zip(*found, strict=True)]


def check_all_well(
    site: Site, cases: Sequence[Case], outcomes: Sequence[Outcome], bad: Sequence[str]
) -> None:
    """All succeeded, and everyone sees so ever after."""
    failed = [
        f"{case}: {outcome!r:.80}"
        for case, outcome in zip(cases, outcomes, strict=True)
        if outcome != case.operation.result
    ]
    assert not failed
    seen = later(site, [case.name for case in cases], bad)
    failed = [
        f"{case}: later {bodies!r:.80}"
        for case, bodies in zip(cases, seen, strict=True)
        if set(bodies) != {case.operation.after}
    ]
    assert not failed


# Fewer than r nodes fail.


@table(AIMED, 2, 3)
def test_a_fault_at_one_kind_of_request_is_not_noticed(
    site: Site, fault: Fault
) -> None:
    bad = bad_nodes(site.replicas - 1)
    cases = [
        Case(operation, site.new_name(bad, spots), spots, kind)
        for operation in OPERATIONS
        for kind in operation.kinds
        if kind in fault.kinds
        for spots in places(site, len(bad), most=2)
    ]
    outcomes = run(site, cases, fault, bad)
    check_all_well(site, cases, outcomes, bad)


@table(FAULTS, 2, 3, everyday=MOST)
def test_nodes_that_fail_at_everything_are_not_noticed(
    site: Site, fault: Fault
) -> None:
    bad = bad_nodes(site.replicas - 1)
    cases = [
        Case(operation, site.new_name(bad, spots), spots)
        for operation in OPERATIONS
        for spots in places(site, len(bad))
    ]
    outcomes = run(site, cases, fault, bad)
    check_all_well(site, cases, outcomes, bad)


# As many as r fail.


def is_honest(case: Case, outcome: Outcome, fault: Fault) -> bool:
    """Whether what was read is right, or it is said to be unknown.

    A write can't be acknowledged, if the fault is one of writes.
    """
    if outcome == case.operation.result:
        is_read = case.operation.result != DONE
        return is_read or fault.is_harmless or fault.kinds != KINDS
    return isinstance(outcome, TOO_BAD)


def check_honest(
    site: Site,
    cases: Sequence[Case],
    outcomes: Sequence[Outcome],
    fault: Fault,
    bad: Sequence[str],
) -> None:
    """Nothing wrong was said, and later the object is as before, or as after."""
    failed = [
        f"{case}: {outcome!r:.80}"
        for case, outcome in zip(cases, outcomes, strict=True)
        if not is_honest(case, outcome, fault)
    ]
    assert not failed
    seen = later(site, [case.name for case in cases], bad)
    for case, outcome, bodies in zip(cases, outcomes, seen, strict=True):
        is_done = outcome == case.operation.result
        possible = {case.operation.after} | (
            set() if is_done else {case.operation.before}
        )
        assert set(bodies) <= possible, f"{case}: later {bodies!r:.80}"


@table(FAULTS, 2, 3)
def test_with_r_failing_nodes_nothing_wrong_is_said(site: Site, fault: Fault) -> None:
    bad = bad_nodes(site.replicas)
    cases = [
        Case(operation, site.new_name(bad, spots), spots)
        for operation in OPERATIONS
        for spots in places(site, len(bad), most=1)
    ]
    outcomes = run(site, cases, fault, bad)
    check_honest(site, cases, outcomes, fault, bad)


@table(FAULTS, 1)
def test_with_one_replica_only_the_keys_of_a_failing_node_suffer(
    site: Site, fault: Fault
) -> None:
    bad = bad_nodes(1)
    cases = [
        Case(operation, site.new_name(bad, spots), spots)
        for operation in OPERATIONS
        for spots in places(site, 1)
    ]
    outcomes = run(site, cases, fault, bad)
    pairs = list(zip(cases, outcomes, strict=True))
    well = [pair for pair in pairs if pair[0].spots != (0,)]
    check_all_well(site, *zip(*well, strict=True), bad)
    ill = [pair for pair in pairs if pair[0].spots == (0,)]
    check_honest(site, *zip(*ill, strict=True), fault, bad)
    if fault.kinds == KINDS and not fault.is_harmless:
        assert all(isinstance(outcome, TOO_BAD) for _, outcome in ill)


# A node that lies.


TOO_LONG, TOO_SHORT = LIES


@table([TOO_LONG], 2, 3)
def test_an_object_that_is_shorter_than_announced_is_an_error(
    site: Site, fault: Fault
) -> None:
    check_lie(site, fault)


@table([TOO_SHORT], 2, 3)
def test_an_object_is_never_cut_off_in_silence(site: Site, fault: Fault) -> None:
    check_lie(site, fault)


def check_lie(site: Site, fault: Fault) -> None:
    """What is read is right, or an error."""
    bad = bad_nodes(site.replicas - 1)
    cases = [
        Case(operation, site.new_name(bad, spots), spots, "GET")
        for operation in OPERATIONS
        if "GET" in operation.kinds
        for spots in places(site, len(bad))
    ]
    outcomes = run(site, cases, fault, bad)
    check_honest(site, cases, outcomes, fault, bad)


# Two gateways, one of which reaches a node badly.


@pytest.fixture
def bad_way(site: Site) -> Iterator[Site]:
    with site.beside() as beside:
        yield beside


def converse(name: ObjectName, bad: Gateway, good: Gateway) -> None:
    """Let them work on one object by turns; each sees what the other one did."""
    bad.put(name, OLD)
    assert good.read(name) == OLD
    good.put(name, NEW)
    assert bad.read(name) == NEW
    bad.put(name, LARGE)
    assert good.read(name) == LARGE
    good.delete(name)
    assert bad.read(name) is None
    good.put(name, NEW_LARGE)
    assert bad.read(name) == NEW_LARGE
    bad.delete(name)
    assert good.read(name) is None
    good.put(name, OLD)
    bad.put(name, NEW)
    assert good.read(name) == bad.read(name) == NEW


@table([fault for fault in FAULTS if not fault.is_harmless], 2)
def test_two_gateways_agree_though_one_reaches_a_node_badly(
    site: Site, bad_way: Site, fault: Fault
) -> None:
    bad = bad_nodes(1)
    names = [site.new_name(bad, spots) for spots in places(site, 1)]
    limits = limits_for(fault)
    with site.gateway() as good, bad_way.gateways(len(names), limits) as gateways:
        bad_way.fail(bad, fault)
        try:
            in_parallel(lambda *pair: converse(*pair, good), names, gateways)
        finally:
            bad_way.heal()
    seen = later(site, names, bad) + later(bad_way, names, bad)
    assert all(set(bodies) == {NEW} for bodies in seen)


# Repair.


@dataclass(frozen=True)
class Damage:
    """Objects that are not as they should be, by what they should be."""

    missing: ObjectName
    stale: ObjectName
    large: ObjectName
    misplaced: ObjectName
    deleted: ObjectName
    well: Sequence[ObjectName]

    @property
    def expected(self) -> dict[ObjectName, bytes | None]:
        """What everybody has to read."""
        return dict.fromkeys(self.well, OLD) | {
            self.missing: NEW,
            self.stale: NEW,
            self.large: LARGE,
            self.misplaced: NEW,
            self.deleted: None,
        }

    def kind_for(self, key: str) -> str:
        """At which requests about a key the fault is."""
        kinds = {self.missing: "PUT", self.stale: "HEAD", self.large: "GET"}
        kinds |= {self.misplaced: "DELETE", self.deleted: "PUT"}
        return kinds.get(ObjectName("store", key), "")


def damage(site: Site) -> Damage:
    """Let things happen while node-1, where all belongs, is away."""
    bad = bad_nodes(1)
    first = [site.new_name(bad, (0,)) for _ in range(5)]
    well = [site.new_name((), ()) for _ in range(4)]
    found = Damage(*first, well)
    with site.gateway() as gateway:
        for name in (found.stale, found.deleted, *well):
            gateway.put(name, OLD)
        gateway.put(found.misplaced, NEW)
    with site.gateway(bad) as gateway:
        gateway.put(found.missing, NEW)
        gateway.put(found.stale, NEW)
        gateway.put(found.large, LARGE)
        gateway.delete(found.deleted)
    site.put_on(site.names_in_order(found.misplaced)[-1], found.misplaced, OLD)
    return found


def check_unharmed(site: Site, found: Damage) -> None:
    expected = found.expected
    seen = later(site, list(expected), ())
    for (name, body), bodies in zip(expected.items(), seen, strict=True):
        assert set(bodies) == {body}, f"{name}: {bodies!r:.80}"


def check_mended(site: Site, found: Damage, report: Report) -> None:
    assert report.is_well
    check_unharmed(site, found)
    for name in found.expected:
        ranking = site.names_in_order(name)
        assert set(ranking[:2]) <= site.holders(name) <= set(ranking[:3])
    again = site.repair()
    assert (again.is_well, again.copies, again.removals) == (True, 0, 0)


@pytest.fixture
def repair_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Four nodes for two replicas, so that one node is in the way."""
    kind, replicas = request.param
    with new_site(request, kind, replicas, 4) as site:
        yield site


def repair_badly(
    site: Site, fault: Fault, bad: Sequence[str], aim: Callable[[Request], bool]
) -> Report:
    hits = site.hits
    site.fail(bad, fault, aim)
    try:
        return site.repair(limits_for(fault))
    finally:
        site.heal()
        assert site.hits > hits


@repair_table(AIMED)
def test_a_repair_that_fails_at_some_objects_says_so_and_harms_none(
    repair_site: Site, fault: Fault
) -> None:
    site, found = repair_site, damage(repair_site)
    report = repair_badly(
        site,
        fault,
        list(site.proxies),
        lambda request: found.kind_for(request.key) == request.kind,
    )
    assert report.is_well == fault.is_harmless
    check_unharmed(site, found)
    check_mended(site, found, site.repair())


LISTING_FAULTS = [
    fault
    for fault in (*QUICK_FAULTS, *SLOW_FAULTS, LISTING_TOO_SHORT)
    if "list" in fault.kinds
]


def at_page(fault: Fault, page: int) -> Any:
    is_everyday = fault in (LISTING_TOO_SHORT,) or fault.name in FEW
    marks = [] if is_everyday else [pytest.mark.slow]
    return pytest.param(fault, page, marks=marks, id=f"{fault}-{page}")


LISTINGS = [at_page(fault, 0) for fault in LISTING_FAULTS] + [
    at_page(fault, 1) for fault in LISTING_FAULTS if fault.name in REAL_FAULTS
]


@pytest.mark.parametrize("fault, page", LISTINGS)
def test_a_listing_that_breaks_is_no_shorter_one(fault: Fault, page: int) -> None:
    with Site([MemoryS3() for _ in range(4)], 2) as site:
        found = damage(site)

        def aim(request: Request) -> bool:
            return request.kind == "list" and page == len(
                request.query.get("continuation-token", "")[:1]
            )

        report = repair_badly(site, fault, bad_nodes(2)[1:], aim)
        assert report.is_whole == fault.is_harmless
        check_unharmed(site, found)
        check_mended(site, found, site.repair())


def test_a_listing_may_take_longer_than_connecting() -> None:
    with Site([MemoryS3() for _ in range(3)], 2) as site:
        slow = Fault("slow", late(0.25), frozenset(("list",)))
        site.fail(site.proxies, slow)
        assert site.repair(TimeLimits(connect=0.125, answer=5, transfer=5)).is_well


REMOVAL_FAULTS = [
    fault for fault in (*QUICK_FAULTS, *SLOW_FAULTS[:2]) if "DELETE" in fault.kinds
]


@repair_table(REMOVAL_FAULTS)
def test_a_tombstone_whose_removal_fails_still_counts(
    repair_site: Site, fault: Fault
) -> None:
    site, found = repair_site, damage(repair_site)
    site.repair()
    ranking = site.names_in_order(found.deleted)
    site.put_on(ranking[-1], found.deleted, OLD)
    for bad in (ranking[-1], ranking[0], ranking[2]):
        site.fail([bad], fault, lambda request: request.kind == "DELETE")
        site.repair(limits_for(fault), days=2)
        site.heal()
        check_unharmed(site, found)
    assert site.repair(days=2).is_well
    assert not site.holders(found.deleted)
    check_unharmed(site, found)


@pytest.mark.parametrize("repair_site", [("memory", 2)], indirect=True)
def test_a_tombstone_that_is_in_its_place_goes_in_time(repair_site: Site) -> None:
    site = repair_site
    name = site.new_name((), ())
    with site.gateway() as gateway:
        gateway.put(name, OLD)
        gateway.delete(name)
    assert site.repair().removals == 0
    assert len(site.holders(name)) == 2
    assert site.repair(days=2).removals == 2
    assert not site.holders(name)
