"""Who may do what: actions, places, grants, principals, and the decision. Pure.

Everything that no grant allows is denied; there are no rules that deny.
"""

from __future__ import annotations

from dataclasses import dataclass, field

READ, WRITE, DELETE, LIST = "read", "write", "delete", "list"
BUCKET, STATUS, METRICS, ADMIN = "bucket", "status", "metrics", "admin"
ACTIONS = (READ, WRITE, DELETE, LIST, BUCKET, STATUS, METRICS, ADMIN)
OF_CLUSTER = frozenset((STATUS, METRICS, ADMIN))
"""Actions that concern no bucket and no id."""
ANY = "any"
"""Asks whether a principal may do anything at all at a place."""
OPEN = "open"
"""The action of a route that needs no credentials."""
OBJECTS, IDS, BLOBS, CLUSTER = "objects", "ids", "blobs", "cluster"


@dataclass(frozen=True, slots=True)
class Place:
    """What an action concerns."""

    kind: str
    """`objects` (in buckets), `ids` (/object), `blobs`, or `cluster`."""
    bucket: str | None = ""
    """None: any bucket."""
    key: str | None = ""
    """Of an object; for lists the prefix. None: any key."""

    def __str__(self) -> str:
        if self.kind != OBJECTS:
            return {IDS: "objects by id", BLOBS: "blobs"}.get(self.kind, "the cluster")
        return f"the bucket {self.bucket}" if self.bucket else "any bucket"


WHOLE = Place(CLUSTER)
ALL_IDS, ALL_BLOBS = Place(IDS), Place(BLOBS)
ANY_BUCKET = Place(OBJECTS, None, None)


@dataclass(frozen=True, slots=True)
class Grant:
    """Allows some actions in some places."""

    allow: frozenset[str]
    buckets: frozenset[str] = frozenset()
    """Names of buckets; `*` stands for all."""
    prefix: str = ""
    """What the keys in these buckets have to begin with."""
    ids: bool = False
    """Whether objects by id (/object) are meant."""
    blobs: bool = False
    """Whether blobs (/upload, /fetch) are meant."""
    line: int = 0
    """Where it stands in the file, for people."""

    def allows(self, action: str, place: Place) -> bool:
        """Whether the action is allowed at a place."""
        if ADMIN in self.allow:
            return True
        if action not in self.allow and action != ANY:
            return False
        if place.kind == OBJECTS:
            return self._has(place)
        return {CLUSTER: action != ANY, IDS: self.ids, BLOBS: self.blobs}[place.kind]

    def _has(self, place: Place) -> bool:
        if place.bucket is None:
            return bool(self.buckets)
        if place.bucket not in self.buckets and "*" not in self.buckets:
            return False
        return place.key is None or place.key.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone who asks: a person, a program, or whoever has no credentials."""

    name: str
    grants: tuple[Grant, ...] = ()
    is_named: bool = True
    """Whether it stands in the file, so that URLs can be signed in its name."""

    def grant_for(self, action: str, place: Place) -> Grant | None:
        """Return the first grant that allows this; None: nothing does."""
        for grant in self.grants:
            if grant.allows(action, place):
                return grant
        return None

    def may(self, action: str, place: Place) -> bool:
        """Whether the principal may do this."""
        return self.grant_for(action, place) is not None


EVERYTHING = (Grant(frozenset((ADMIN,))),)
EVERYBODY = Principal("everybody", EVERYTHING, is_named=False)
"""Who asks where `ACCESS` is open."""
NOBODY = Principal("anonymous", is_named=False)
"""Who has no credentials, where no rule is for them."""


@dataclass(frozen=True, slots=True)
class CorsRule:
    """Which pages of other origins may ask for what. Source: the Fetch standard."""

    origins: frozenset[str]
    """As `https://app.example.com`, in lower case; `*` stands for all."""
    methods: frozenset[str]
    where: Grant
    """The buckets, and whether objects by id are meant."""
    expose: tuple[str, ...] = ()
    """Headers of responses that pages may read, beside those that all may."""
    max_age: int = 600
    """How many seconds a browser remembers the answer."""

    def fits(self, origin: str, method: str, place: Place) -> bool:
        """Whether a page of this origin may ask so."""
        is_known = origin.lower() in self.origins or "*" in self.origins
        return is_known and method in self.methods and self.where.allows(ANY, place)


@dataclass(frozen=True, slots=True)
class Credential:
    """A token or a key of S3, and whose it is."""

    principal: Principal
    secret: str = field(default="", repr=False)
    """Of a key; a token's is not known."""
    expires: float | None = None
    """Unix time from which on it is refused; None: never."""
