"""Measurements against real servers on this machine; loopback only.

The servers are those of the tests (`tests/servers.py`, `tests/gateway_process.py`).
"""

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "tests"))
