"""Placement: weighted rendezvous hashing. Pure; knows nothing of nodes but names.

The hash and the formula are a storage format: change either and every object is
looked for in the wrong place. `tests/data/ranking*.json` pin them.

Source: Thaler & Ravishankar, "Using name-based mappings to increase hit rates"
(1998); weights by the logarithmic method (Schindler & Schomaker 2005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from xxhash import xxh3_64_intdigest

_UNIFORM_BITS = 52
"""Bits of a hash that become a fraction: h + 0.5 is exact, so 0 < fraction < 1."""
_GROUP_PREFIX = "group/"
"""Before a group's name when it is hashed: no node's name has a slash."""


class Ranker:
    """Ranks a fixed set of nodes for any key.

    Groups are ranked first, then the nodes within each: the ranking is all members of
    the best group, then the next group's. So who is in a group does not matter to
    which group is best for a key.

    A node's hash of a key is XXH3-64 of the key, seeded with XXH3-64 of the node's
    name: one hash a node, and no way for a name and a key to run into each other.
    A group's is the same with the name `group/<name>`; a single group is not hashed.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        groups: Mapping[str, str] = {},
        group_weights: Mapping[str, float] = {},
    ) -> None:
        """Take the nodes' stable names and weights (relative shares, above 0).

        `groups` has the nodes' groups, "" if missing; `group_weights` the groups'
        weights, 1 if missing. Names in them that are nobody's change nothing.
        """
        _check_weights("node", weights)
        _check_weights("group", group_weights)
        self._nodes = [
            (name, xxh3_64_intdigest(name.encode()), weight)
            for name, weight in sorted(weights.items(), reverse=True)
        ]
        self._is_weighted = len(set(weights.values())) > 1
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
        if self._groups is not None:
            return [
                name
                for group in self._groups.rank(hash_key)
                for name in self._members[group].rank(hash_key)
            ]
        if self._is_weighted:
            scores = [
                (weighted_score(digest, weight), digest, name)
                for name, seed, weight in self._nodes
                for digest in (xxh3_64_intdigest(hash_key, seed),)
            ]
            scores.sort(key=lambda score: score[:2])
            return [name for _, _, name in reversed(scores)]
        digests = [
            (xxh3_64_intdigest(hash_key, seed), name) for name, seed, _ in self._nodes
        ]
        digests.sort(key=lambda digest: digest[0])
        return [name for _, name in reversed(digests)]


def weighted_score(digest: int, weight: float) -> float:
    """Return -weight / ln(u), where u is the 64-bit `digest` as a fraction of 1.

    Grows with the digest and with the weight: a node wins a key with the
    probability of its share of all weights.
    """
    uniform = ((digest >> (64 - _UNIFORM_BITS)) + 0.5) / (1 << _UNIFORM_BITS)
    return -weight / math.log(uniform)


def _check_weights(kind: str, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            raise ValueError(f"weight of {kind} {name!r} must be finite and above 0")
