"""Placement of keys on nodes by weighted rendezvous hashing. Pure; knows only names.

The hash and the formula are a storage format: a change to either makes the gateway look
for every object on the wrong nodes. `tests/data/ranking*.json` pin them.

Source: Thaler & Ravishankar, "Using name-based mappings to increase hit rates" (1998);
weights by the logarithmic method (Schindler & Schomaker 2005).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from itertools import repeat
from operator import index, itemgetter

from xxhash import xxh3_64_intdigest

_UNIFORM_BITS = 52
"""Bits of a hash that become a fraction: h + 0.5 is exact, so 0 < fraction < 1."""
_GROUP_PREFIX = "group/"
"""Precedes a group's name when it is hashed. No node's name contains a slash."""
_FEW = 8
"""Up to this count, repeated `max` finds the greatest digests faster than sorting
does."""
_WORTHWHILE = 4
"""Candidates are searched only if there are at least this many times more nodes."""


class Ranker:
    """Ranks a fixed set of nodes for any key.

    Groups are ranked first, then the nodes within each group: the ranking is all
    members of the best group, then all members of the next group. The members of a
    group therefore do not influence which group is best for a key.

    A node's hash of a key is XXH3-64 of the key, seeded with XXH3-64 of the node's
    name. That is one hash per node, and name and key are never concatenated. A group is
    hashed in the same way with the name `group/<name>`; a single group is not hashed.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        groups: Mapping[str, str] = {},
        group_weights: Mapping[str, float] = {},
    ) -> None:
        """Take the nodes' stable names and weights (relative shares, above 0).

        `groups` maps node names to group names, "" if missing; `group_weights` maps
        group names to weights, 1 if missing. Entries for unknown names are ignored.
        """
        _check_weights("node", weights)
        _check_weights("group", group_weights)
        self._nodes = _Nodes(weights)
        self._weights = [weights[name] for name in self._nodes.names]
        by_weight: dict[float, list[str]] = {}
        for name, weight in weights.items():
            by_weight.setdefault(weight, []).append(name)
        self._equals = [(_Nodes(names), weight) for weight, names in by_weight.items()]
        members: dict[str, dict[str, float]] = {}
        for name, weight in weights.items():
            members.setdefault(groups.get(name, ""), {})[name] = weight
        self._groups: Ranker | None = None
        if len(members) > 1:
            self._groups = Ranker(
                {_GROUP_PREFIX + name: group_weights.get(name, 1.0) for name in members}
            )
            self._members = {
                _GROUP_PREFIX + name: Ranker(nodes) for name, nodes in members.items()
            }

    def rank(self, hash_key: bytes) -> list[str]:
        """Return all names, best score first; ties go to the smaller name."""
        return self.first(hash_key, len(self._weights))

    def first(self, hash_key: bytes, count: int) -> list[str]:
        """Return the first `count` names of the ranking, or all if there are fewer.

        Raises: TypeError, if `count` is not an integer.
        """
        count = index(count)
        if self._groups is not None:
            return self._first_of_groups(self._groups, hash_key, count)
        if len(self._equals) < 2:
            return list(map(itemgetter(1), self._nodes.greatest(hash_key, count)))
        scores = [
            (-weighted_score(digest, weight), -digest, name)
            for digest, name, weight in self._candidates(hash_key, count)
        ]
        return [name for _, _, name in nsmallest(count, scores)]

    def _first_of_groups(
        self, groups: Ranker, hash_key: bytes, count: int
    ) -> list[str]:
        names: list[str] = []
        for group in groups.first(hash_key, count):
            names += self._members[group].first(hash_key, count - len(names))
            if len(names) >= count:
                break
        return names

    def _candidates(
        self, hash_key: bytes, count: int
    ) -> Iterable[tuple[int, str, float]]:
        """Return digest, name and weight of each node that may be in the first `count`.

        Of nodes with equal weight, only the greatest digests can be.
        """
        if _WORTHWHILE * count * len(self._equals) <= len(self._weights):
            return [
                (digest, name, weight)
                for nodes, weight in self._equals
                for digest, name in nodes.greatest(hash_key, count)
            ]
        digests = self._nodes.digests(hash_key)
        return zip(digests, self._nodes.names, self._weights, strict=True)


class _Nodes:
    """Sorted names, and for each the seed with which a key is hashed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(names)
        self.seeds = [xxh3_64_intdigest(name.encode()) for name in self.names]

    def digests(self, hash_key: bytes) -> list[int]:
        """Return the digest of a key for each name, in the order of `names`."""
        return list(map(xxh3_64_intdigest, repeat(hash_key), self.seeds))

    def greatest(self, hash_key: bytes, count: int) -> list[tuple[int, str]]:
        """Return the `count` greatest digests and their names, or all.

        Of equal digests, the one with the smaller name comes first.
        """
        names = self.names
        digests = list(map(xxh3_64_intdigest, repeat(hash_key), self.seeds))
        if count > _FEW:
            ranked = zip(digests, names, strict=True)
            return sorted(ranked, key=itemgetter(0), reverse=True)[:count]
        found = []
        for _ in names[:count]:
            digest = max(digests)
            place = digests.index(digest)
            digests[place] = -1
            found.append((digest, names[place]))
        return found


def weighted_score(digest: int, weight: float) -> float:
    """Return -weight / ln(u), where u is the 64-bit `digest` as a fraction of 1.

    The score grows with the digest and with the weight: a node wins a key with the
    probability of its share of all weights. The logarithms of neighbouring fractions
    differ by at least two units in the last place, so rounding never swaps two digests.
    """
    uniform = ((digest >> (64 - _UNIFORM_BITS)) + 0.5) / (1 << _UNIFORM_BITS)
    return -weight / math.log(uniform)


def _check_weights(kind: str, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            raise ValueError(f"weight of {kind} {name!r} must be finite and above 0")
