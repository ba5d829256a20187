import pytest

from benchmarks import crf
from benchmarks.skipped import Skipped


@pytest.mark.parametrize("work", [crf.crf_same, crf.crf_fast])
def test_without_the_reference_the_rows_are_skipped(work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf, "find_spec", lambda name: None)
    with pytest.raises(Skipped, match=r"^pydensecrf2 is not installed$"):
        work()
