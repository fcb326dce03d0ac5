"""How many examples hypothesis makes: few in `make test`, many in `make itest`.

Which it is says pytest's `--hypothesis-profile`; without it few.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_EXAMPLES = {"everyday": 25, "thorough": 500}


def register_profiles() -> None:
    """Let the profiles be known, and choose the everyday one; the same on any machine.

    What hypothesis would choose itself depends on whether this is a CI, and on how
    busy the machine is.
    """
    for name, count in _EXAMPLES.items():
        settings.register_profile(
            name,
            settings.get_profile("default"),
            max_examples=count,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )
    settings.load_profile("everyday")


def examples(share: float) -> int:
    """Return this share of the usual number, for a test whose examples cost more."""
    return max(1, round(share * settings().max_examples))
