"""Two contents with one SHA-1: how the files of shattered.io begin.

Whatever is appended to both, they have one SHA-1.
"""

from __future__ import annotations

from base64 import b64decode

_SAME = """
JVBERi0xLjMKJeLjz9MKCgoxIDAgb2JqCjw8L1dpZHRoIDIgMCBSL0hlaWdodCAzIDAgUi9UeXBl
IDQgMCBSL1N1YnR5cGUgNSAwIFIvRmlsdGVyIDYgMCBSL0NvbG9yU3BhY2UgNyAwIFIvTGVuZ3Ro
IDggMCBSL0JpdHNQZXJDb21wb25lbnQgOD4+CnN0cmVhbQr/2P/+ACRTSEEtMSBpcyBkZWFkISEh
ISGFL+wJIzl1nDmxocY8TJfh//4B
"""
_ENDS = (
    """
f0bck6a2fgE7ApqqHbJWC0XKZ9aIx/hLjEx5H+ArPfYU+G2xaQkBxWtFwVMK/t+3YDjpcnIv561y
jw5JBOBGwjBXD+nUE5ir4S71vJQr4zVCpIAtmLXXDyozLsN/rDUU503cDyzBqHTNDHgwWiFWZGEw
l4lga9C/P5jNqARGKaE=
""",
    """
c0bckWa2fhGPApq2IbJWD/nKZ8yox/hbqEx5AwwrPeIY+G2zqQkB1d9FwU8m/t+z3DjpasIv571y
jw5FvOBG0jxXD+sUE5i7VS71oKgr4zH+pIA3uLXXHw4zLt+TrDUA603cDezBqGR5DHgsdiFWYN0w
l5HQa9CvP5jNpLxGKbE=
""",
)

FIRST, SECOND = (b64decode(_SAME) + b64decode(end) for end in _ENDS)
"""320 bytes each."""
SHA1 = "f92d74e3874587aaf443d1db961d4e26dde13e9c"
