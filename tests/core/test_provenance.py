"""Code and machine behind a number, without a host's name."""

import platform

from pipeline.core import provenance as module
from pipeline.core.provenance import Code, provenance
from pipeline.core.typed_json import from_json, to_json


def test_no_host_is_named(tmp_path) -> None:
    made = provenance()
    assert platform.node() not in str(to_json(made))
    assert made.machine.cores >= 1
    assert made.machine.memory_gib is None or made.machine.memory_gib >= 1
    assert from_json(type(made), to_json(made), tmp_path) == made


def test_packages_that_decide_numbers_have_versions() -> None:
    assert {"torch", "timm", "opencv-python", "numba"} <= provenance().code.packages.keys() <= set(module.PACKAGES)


def test_without_git_nothing_is_known_of_the_commit(monkeypatch) -> None:
    monkeypatch.setattr(module, "_git", lambda *words: None)
    assert module.code() == Code(None, None, provenance().code.packages)
