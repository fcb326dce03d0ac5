"""Keys that make it hard for nodes and listings, and what nodes refuse of names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hypothesis import strategies as st

from amazin.model.names import MAX_KEY_BYTES

PIECES = [
    *"ab-!.+%~0",
    *[" ", "  ", "/", "//", "..", "\\", "\0", "\n", "\x1f", "\x7f", "\x85", "\xa0"],
    *["é", "\u2003", "\u2028", "\ud7ff", "\ufffd", "\ufffe", "\uffff", "\U0010ffff"],
    *["xl.meta", "xl.json", ".sgwtmp", "__XLDIR__", "[minio_cache:v2,id:x]", "%2F"],
    *["k" * size for size in (119, 120, 121, 127, 240, 253, 254, 255, 256)],
    *["d/" * size for size in (60, 120, 237, 238, 476, 477)],
    *["é" * size for size in (60, 127, 128, 180)],
]
"""What makes keys hostile, and what lies about the limits of the forms."""


def is_key(key: str) -> bool:
    return 1 <= len(key.encode()) <= MAX_KEY_BYTES


def cut(key: str) -> str:
    """Return a key of as many bytes as a key may have, or fewer."""
    return key.encode()[:MAX_KEY_BYTES].decode(errors="ignore")


KEYS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join).map(cut),
    st.lists(st.sampled_from(PIECES[:14]), min_size=1, max_size=6).map("".join),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.builds(
        lambda piece, size, end: cut((piece * size)[:size] + end),
        st.sampled_from(["k", "d/", "é", "k" * 200 + "/"]),
        st.sampled_from([238, 239, 240, 253, 254, 255, 359, 360, 361, 474, 475])
        | st.sampled_from([476, 953, 954, 955, 1022, 1023, 1024])
        | st.integers(1, 1024),
        st.sampled_from(PIECES),
    ),
).filter(is_key)
TEXTS = KEYS | st.just("") | st.text(max_size=5) | KEYS.map(lambda key: key * 9)
"""What a client may ask for: also lone surrogates, and what is longer than a key."""


def is_taken(text: str) -> bool:
    """Whether MinIO takes this in a path or a query. It looks at single bytes."""
    for segment in re.split(rb"[/\\]", text.encode()):
        if segment.strip(b"\t\n\v\f\r \x85\xa0") in (b".", b".."):
            return False
    return "\0" not in text and "//" not in text and "[minio_cache:" not in text


def expected(
    keys: Iterable[str], prefix: str, after: str, recursive: bool = True
) -> list[str]:
    """Return what a listing must give, the plain way."""
    found = set()
    for key in keys:
        if key.startswith(prefix):
            end = key.find("/", len(prefix))
            found.add(key if recursive or end < 0 else key[: end + 1])
    behind = after.encode(errors="surrogatepass")
    return sorted((k for k in found if k.encode() > behind), key=str.encode)
