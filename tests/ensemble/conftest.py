"""Two finished checkouts of each track, with maps of different sizes, without and with students made by hand."""

from pathlib import Path
from typing import Any

import pytest
from support.fixtures import single_thread
from support.prediction import make_checkout
from support.student_run import with_student

from pipeline.core.files import write_json

__all__ = ["single_thread"]

TRACKS = ("track1", "track3")
CHANGES: dict[str, dict[str, Any]] = {"a": {}, "b": {"extract": {"sizes": [64], "flip": False, "percentile": 85.0}}}


@pytest.fixture(scope="package")
def maps(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, tuple[Path, Path]]:
    """By track: two checkouts without a student; no test changes them."""
    return {
        track: (_checkout(tmp_path_factory, track, "a"), _checkout(tmp_path_factory, track, "b")) for track in TRACKS
    }


@pytest.fixture(scope="package")
def students(
    maps: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """By track: the same with students, whose predictions are moved to different sides."""
    root = tmp_path_factory.mktemp("students")
    return {
        track: (
            with_student(maps[track][0], track, root / f"{track}_a", 2).parents[1],
            with_student(maps[track][1], track, root / f"{track}_b", -3).parents[1],
        )
        for track in TRACKS
    }


def _checkout(factory: pytest.TempPathFactory, track: str, name: str) -> Path:
    root = make_checkout(factory.mktemp(f"{track}_{name}"), track, **CHANGES[name])
    write_json(root / "data" / track / "train.json", {"parameters": 100 if name == "a" else 120})
    return root
