"""Placement: weighted rendezvous hashing. Pure; knows nothing of nodes but names.

The hash and the formula are a storage format: change either and every object is
looked for in the wrong place. `tests/data/ranking.json` pins them.

Source: Thaler & Ravishankar, "Using name-based mappings to increase hit rates"
(1998); weights by the logarithmic method (Schindler & Schomaker 2005).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from xxhash import xxh3_64_intdigest

_UNIFORM_BITS = 52
"""Bits of a hash that become a fraction: h + 0.5 is exact, so 0 < fraction < 1."""


class Ranker:
    """Ranks a fixed set of nodes for any key.

    A node's hash of a key is XXH3-64 of the key, seeded with XXH3-64 of the node's
    name: one hash a node, and no way for a name and a key to run into each other.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Take the nodes' stable names and weights (relative shares, above 0)."""
        for name, weight in weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"weight of {name!r} must be finite and above 0")
        self._nodes = [
            (name, xxh3_64_intdigest(name.encode()), weight)
            for name, weight in sorted(weights.items(), reverse=True)
        ]
        self._is_weighted = len(set(weights.values())) > 1

    def rank(self, hash_key: bytes) -> list[str]:
        """Return all names, best score first; ties go to the smaller name."""
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
