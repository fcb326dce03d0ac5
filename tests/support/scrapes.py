"""What a scrape of `/metrics` says, for tests."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.series import PREFIX


def values_of(text: str) -> dict[str, float]:
    """Return the value of each sample by its name, and the values of its labels.

    The name is without our prefix; the values stand in the order of the labels' names:
    `http_requests_total object GET 200`.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [value for _, value in sorted(sample.labels.items())]
            key = " ".join([sample.name.removeprefix(PREFIX), *labels])
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def those_of(values: dict[str, float], name: str) -> dict[str, float]:
    """Return the values of one name, by the values of the labels."""
    return {
        key.removeprefix(f"{name} "): value
        for key, value in values.items()
        if key == name or key.startswith(f"{name} ")
    }
