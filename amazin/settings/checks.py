"""Which settings contradict each other. Pure; `converters.py` checks each alone."""

from __future__ import annotations

from collections.abc import Iterator

from amazin.model.manifest import MAX_PARTS
from amazin.settings.settings import MOST_OBJECT_BYTES, Settings

LEAST_CHUNK_BYTES = 2**20
LEAST_SECRET_CHARACTERS = 16
"""Of tokens and the signing secret where they decide who may do what: nobody can try
all that are so long."""
Contradiction = tuple[tuple[str, ...], str]
"""The fields, with the one to change first in front; and a sentence on what is
wrong."""


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Yield all contradictions."""
    yield from _of_nodes(settings)
    yield from _of_access(settings)
    yield from _of_sizes(settings)
    if settings.discovery == "dns" and not settings.dns_name:
        yield ("dns_name", "discovery"), "DISCOVERY=dns needs DNS_NAME"
    if bool(settings.node_access_key) != bool(settings.node_secret_key):
        names = ("node_access_key", "node_secret_key")
        yield names, "NODE_ACCESS_KEY and NODE_SECRET_KEY need each other"


def _of_sizes(settings: Settings) -> Iterator[Contradiction]:
    most, part = settings.max_object_bytes, settings.chunk_bytes
    if not part and most > MOST_OBJECT_BYTES:
        sentence = "nodes take at most 5 GiB in one upload; CHUNK_BYTES makes parts"
        yield ("max_object_bytes", "chunk_bytes"), sentence
    if part and not LEAST_CHUNK_BYTES <= part <= MOST_OBJECT_BYTES:
        yield ("chunk_bytes",), "expected 0, or 1 MiB to 5 GiB"
    elif part and most > part * MAX_PARTS:
        sentence = f"MAX_OBJECT_BYTES would need more than {MAX_PARTS:,} parts"
        yield ("chunk_bytes", "max_object_bytes"), sentence


def _of_nodes(settings: Settings) -> Iterator[Contradiction]:
    if settings.discovery != "static":
        return
    lists = ("minio_endpoint", "nodes_file", "nodes")
    given = tuple(name for name in lists if getattr(settings, name))
    if not given:
        sentence = "DISCOVERY=static needs NODES, NODES_FILE or MINIO_ENDPOINT"
        yield ("nodes", "discovery"), sentence
    if len(given) > 1:
        names = " and ".join(sorted(name.upper() for name in given))
        yield given, f"only one of {names} can say who the nodes are"
    keys = settings.minio_access_key_id, settings.minio_secret_access_key
    if settings.minio_endpoint and not all(keys):
        sentence = "needs MINIO_ACCESS_KEY_ID and MINIO_SECRET_ACCESS_KEY"
        yield ("minio_endpoint",), sentence


def _of_access(settings: Settings) -> Iterator[Contradiction]:
    has_keys = settings.signing_secret or settings.api_tokens or settings.access_file
    if settings.access == "signed" and not has_keys:
        sentence = "ACCESS=signed needs ACCESS_FILE, API_TOKENS or SIGNING_SECRET"
        yield ("access",), sentence
    if settings.access == "open" and settings.access_file:
        sentence = "ACCESS=open lets everybody in, whatever ACCESS_FILE says"
        yield ("access", "access_file"), sentence
    if settings.access == "signed":
        yield from _of_short_secrets(settings)
    if settings.presign == "direct" and settings.discovery == "folders":
        sentence = "PRESIGN=direct needs nodes that speak S3; folders don't"
        yield ("presign", "discovery"), sentence
    if settings.presign == "direct" and settings.chunk_bytes:
        sentence = "PRESIGN=direct: no one node has an object that CHUNK_BYTES cut up"
        yield ("presign", "chunk_bytes"), sentence


def _of_short_secrets(settings: Settings) -> Iterator[Contradiction]:
    least = f"{LEAST_SECRET_CHARACTERS} characters or more"
    if any(len(token) < LEAST_SECRET_CHARACTERS for token in settings.api_tokens):
        yield ("api_tokens", "access"), f"ACCESS=signed needs tokens of {least}"
    if 0 < len(settings.signing_secret) < LEAST_SECRET_CHARACTERS:
        yield ("signing_secret", "access"), f"ACCESS=signed needs {least}"
