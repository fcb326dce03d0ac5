"""How objects lie over nodes, and what moves: through the real `Ranker`, and by law.

What was counted and what was only computed from the law is kept apart: `count_keys` and
`count_moves` rank every key; `by_law` ranks none.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bench.stats import percentile
from hashing import Ranker

BATCH_KEYS = 100_000
COPIES = 2
"""What is counted of a key when nodes join or leave: so many copies."""
SEED = 2026

Part = TypeVar("Part")


@dataclass(frozen=True)
class Sizes:
    """A distribution of object sizes, in bytes."""

    title: str
    draw: Callable[[random.Random], float]
    moments: tuple[float, float, float]
    """The means of a size, of its square and of its cube."""


MIB, KIB64 = 2.0**20, 2.0**16
SIGMA = 1.5
SIZES = (
    Sizes("all equal", lambda rng: 1.0, (1.0, 1.0, 1.0)),
    Sizes(
        "exponential, mean 1 MiB",
        lambda rng: rng.expovariate(1 / MIB),
        (MIB, 2 * MIB**2, 6 * MIB**3),
    ),
    Sizes(
        "log-normal, median 64 KiB, mean 197 KiB",
        lambda rng: rng.lognormvariate(math.log(KIB64), SIGMA),
        (
            KIB64 * math.exp(SIGMA**2 / 2),
            KIB64**2 * math.exp(4 * SIGMA**2 / 2),
            KIB64**3 * math.exp(9 * SIGMA**2 / 2),
        ),
    ),
)


def node_names(count: int) -> list[str]:
    """Return the names of so many nodes."""
    return [f"node-{number}" for number in range(1, count + 1)]


def batches(keys: int) -> list[range]:
    """Return the numbers of so many keys, in parts."""
    return [
        range(first, min(first + BATCH_KEYS, keys))
        for first in range(0, keys, BATCH_KEYS)
    ]


def keys_of(batch: range) -> Iterator[bytes]:
    """Yield what is hashed: ids that count up, the least random there are."""
    return (b"store/%d" % number for number in batch)


def in_parts(work: Callable[[range], Part], keys: int, workers: int) -> Iterator[Part]:
    """Do the work on so many keys, in so many processes; here if it is one."""
    if workers < 2:
        yield from map(work, batches(keys))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(work, batches(keys))


# Where objects lie


@dataclass
class Load:
    """What each node holds of some keys, in the order of `node_names`."""

    objects: list[int]
    sizes: list[list[float]] = field(default_factory=list)
    """In bytes, by `SIZES`."""

    def add(self, other: Load) -> None:
        """Count what another part holds, too."""
        pairs = zip(self.objects, other.objects, strict=True)
        self.objects = [a + b for a, b in pairs]
        for own, more in zip(self.sizes, other.sizes, strict=True):
            own[:] = [a + b for a, b in zip(own, more, strict=True)]


def empty_load(nodes: int) -> Load:
    """Return the load of empty nodes."""
    return Load([0] * nodes, [[0.0] * nodes for _ in SIZES])


def load_of(nodes: int, batch: range) -> Load:
    """Rank the keys of a batch."""
    names = node_names(nodes)
    place_of = {name: place for place, name in enumerate(names)}
    first = Ranker(dict.fromkeys(names, 1.0)).first
    rng = random.Random(SEED + batch.start)
    load = empty_load(nodes)
    for key in keys_of(batch):
        place = place_of[first(key, 1)[0]]
        load.objects[place] += 1
        for sizes, held in zip(SIZES, load.sizes, strict=True):
            held[place] += sizes.draw(rng)
    return load


def count_keys(nodes: int, keys: int, workers: int) -> dict[str, Any]:
    """Rank so many keys; returns how even they lie and whether that is chance."""
    total, chi_squares = empty_load(nodes), []
    for load in in_parts(partial(load_of, nodes), keys, workers):
        chi_squares.append(chi_square(load.objects))
        total.add(load)
    result: dict[str, Any] = {
        "nodes": nodes,
        "keys": keys,
        "balance": balance(total.objects),
        "expected deviation": relative_deviation(nodes, keys, SIZES[0]),
        "chi-square": chi_square(total.objects),
        "p": chance_of_more(chi_square(total.objects), nodes - 1),
        "bytes": {
            sizes.title: balance(held)
            | {"expected deviation": relative_deviation(nodes, keys, sizes)}
            for sizes, held in zip(SIZES[1:], total.sizes[1:], strict=True)
        },
    }
    if len(chi_squares) > 1:
        result["batches"] = {
            "count": len(chi_squares),
            "mean": statistics.mean(chi_squares),
            "deviation": statistics.stdev(chi_squares),
            "expected mean": nodes - 1,
            "expected deviation": math.sqrt(2 * (nodes - 1)),
        }
    return result


def balance(held: Sequence[float]) -> dict[str, float]:
    """Return the fullest, the emptiest and the standard deviation, by the mean."""
    mean = statistics.fmean(held)
    return {
        "max": max(held) / mean,
        "min": min(held) / mean,
        "deviation": statistics.pstdev(held) / mean,
    }


def chi_square(counts: Sequence[int]) -> float:
    """Return Pearson's statistic against equal shares."""
    mean = statistics.fmean(counts)
    return sum((count - mean) ** 2 for count in counts) / mean


def chance_of_more(statistic: float, degrees: int) -> float:
    """Return how likely pure chance gives a greater one, to 0.001 from 30 degrees on.

    Source: Wilson & Hilferty, "The distribution of chi-square" (1931).
    """
    spread = 2 / (9 * degrees)
    normal = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 1 - statistics.NormalDist().cdf(normal)


# By the law


def relative_deviation(nodes: int, keys: int, sizes: Sizes) -> float:
    """Return the standard deviation of what a node holds, by the mean.

    Binomial; each object lies on a node with the probability 1/nodes.
    """
    mean, square, _ = sizes.moments
    return math.sqrt((1 - 1 / nodes) * square / mean**2 * nodes / keys)


def by_law(nodes: int, keys: int, sizes: Sizes, trials: int) -> dict[str, Any]:
    """Draw what nodes hold if each key falls on each node alike; ranks no key.

    Instead of the multinomial law normal numbers of its variance, covariance and
    skewness (Cornish & Fisher 1938, the first term). With 10^6 objects a node the error
    of max/mean is below 10^-6 for objects of one size, 10^-4 for the log-normal ones.
    """
    rng = random.Random(SEED)
    deviation = relative_deviation(nodes, keys, sizes)
    _, square, cube = sizes.moments
    skewness = cube / square**1.5 * math.sqrt(nodes / keys)
    found: dict[str, list[float]] = {"max": [], "min": []}
    for _ in range(trials):
        drawn = [rng.gauss(0.0, 1.0) for _ in range(nodes)]
        mean = statistics.fmean(drawn)
        widened = math.sqrt(nodes / (nodes - 1))
        for name, choose in (("max", max), ("min", min)):
            normal = (choose(drawn) - mean) * widened
            skewed = normal + (normal**2 - 1) * skewness / 6
            found[name].append(1 + deviation * skewed)
    return {
        "nodes": nodes,
        "keys": keys,
        "sizes": sizes.title,
        "deviation": deviation,
        **{name: quantiles(values) for name, values in found.items()},
    }


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return the middle, and what one draw in a hundred is below or above."""
    ordered = sorted(values)
    shares = {"median": 0.5, "1 %": 0.01, "99 %": 0.99}
    return {name: percentile(ordered, share) for name, share in shares.items()}


# What moves


@dataclass
class Moves:
    """What moved of some keys when the set of nodes changed."""

    objects: int = 0
    """Whose best node is another one."""
    copies: int = 0
    """That lie on nodes that held none of the object."""
    strays: int = 0
    """What moved neither from the node that left nor to the one that joined."""
    sizes: list[float] = field(default_factory=lambda: [0.0] * len(SIZES))
    """Of `objects`, in bytes, by `SIZES`."""
    total_sizes: list[float] = field(default_factory=lambda: [0.0] * len(SIZES))

    def add(self, other: Moves) -> None:
        """Count what another part moved, too."""
        self.objects += other.objects
        self.copies += other.copies
        self.strays += other.strays
        for own, more in (
            (self.sizes, other.sizes),
            (self.total_sizes, other.total_sizes),
        ):
            own[:] = [a + b for a, b in zip(own, more, strict=True)]


def moves_of(nodes: int, batch: range) -> dict[str, Moves]:
    """Rank the keys of a batch before and after a join, and before and after a leave.

    The node that joins is `new`, the one that leaves `node-1`.
    """
    names = node_names(nodes)
    before, joined, left = (
        Ranker(dict.fromkeys(some, 1.0)).first
        for some in (names, [*names, "new"], names[1:])
    )
    rng = random.Random(SEED + batch.start)
    result = {"joins": Moves(), "leaves": Moves()}
    for key in keys_of(batch):
        old = before(key, COPIES)
        sizes = [one.draw(rng) for one in SIZES]
        note(result["joins"], "new", old, joined(key, COPIES), sizes)
        note(result["leaves"], names[0], old, left(key, COPIES), sizes)
    return result


def note(
    moves: Moves, changed: str, old: list[str], new: list[str], sizes: list[float]
) -> None:
    """Count what moved of one key; `changed` is the node that joined or left."""
    is_moved = old[0] != new[0]
    moves.objects += is_moved
    for place, size in enumerate(sizes):
        moves.total_sizes[place] += size
        moves.sizes[place] += size * is_moved
    gained, lost = set(new).difference(old), set(old).difference(new)
    moves.copies += len(gained)
    moves.strays += bool(gained) and gained != {changed} and lost != {changed}
    moves.strays += is_moved and changed not in (old[0], new[0])


def count_moves(nodes: int, keys: int, workers: int) -> dict[str, Any]:
    """Rank so many keys; returns which share moves when one node joins or leaves."""
    total = {"joins": Moves(), "leaves": Moves()}
    for part in in_parts(partial(moves_of, nodes), keys, workers):
        for name, moves in part.items():
            total[name].add(moves)
    expected = {"joins": 1 / (nodes + 1), "leaves": 1 / nodes}
    return {"nodes": nodes, "keys": keys} | {
        name: {
            "expected": share,
            "expected deviation": math.sqrt(share * (1 - share) / keys),
            "objects": moves.objects / keys,
            "copies": moves.copies / keys / COPIES,
            "strays": moves.strays,
            "bytes": {
                one.title: moved / all_bytes
                for one, moved, all_bytes in zip(
                    SIZES, moves.sizes, moves.total_sizes, strict=True
                )
            },
        }
        for name, share in expected.items()
        for moves in (total[name],)
    }
