"""A finished run for each track, with a submission that lies as the chain leaves it, and one thread for PyTorch."""

from pathlib import Path

import pytest
from support.fixtures import single_thread
from support.prediction import Finished, make_finished

from stages import package

__all__ = ["single_thread"]


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, Finished]:
    """Finished runs by track, which no test changes; `<root>/submissions/<track>.zip` is of split val."""
    return {track: _packaged(tmp_path_factory.mktemp(track), track) for track in ("track1", "track3")}


def _packaged(root: Path, track: str) -> Finished:
    made = make_finished(root, track, package={"split": "val"})
    data = made.folder
    package.main(
        ["--track", track, "--params", str(root / "params.yaml"), "--manifest", str(data / "manifest"),
         "--refined", str(data / "refined"), "--student", str(data / "student"),
         "--metrics", str(root / "reports" / "metrics.json"), "--out", str(root / "submissions" / f"{track}.zip"),
         "--record", str(root / "submissions" / f"{track}.json"), "--report", str(data / "package.json")]
    )  # fmt: skip
    return made
