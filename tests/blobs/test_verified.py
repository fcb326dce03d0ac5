"""What is remembered of the files of sos, and how much of it."""

from __future__ import annotations

from amazin.blobs.verified import Verdict, Verdicts
from amazin.model.objects import ObjectInfo

INFO = ObjectInfo(5, "", 7, None, {})


def test_the_newest_verdicts_stay_as_far_as_they_fit() -> None:
    verdicts = Verdicts(most_bytes=100)
    for blob_id in ("a", "b", "c"):
        verdicts.note(blob_id, INFO, Verdict(blob_id.encode() * 40))
    assert verdicts.of("a", INFO) == Verdict()
    assert verdicts.of("b", INFO) == Verdict(b"b" * 40)
    verdicts.note("d", INFO, Verdict(b"d" * 400))
    assert verdicts.of("c", INFO) == Verdict()
    assert verdicts.of("d", INFO) == Verdict(b"d" * 400)
    verdicts.note("d", INFO, Verdict(lost_at=3.0))
    assert verdicts.of("d", INFO) == Verdict(lost_at=3.0)
