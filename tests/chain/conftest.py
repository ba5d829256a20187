"""One finished run of the chain, shared by the tests of this folder."""

import shutil
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML
from support.checkout import ROOT, STAGES, TRACKS, Checkout, shrink, write_yaml


@pytest.fixture(scope="session")
def make_checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Checkout]:
    """Copy what the chain needs to a new folder with small params."""

    def make() -> Checkout:
        folder = tmp_path_factory.mktemp("checkout")
        for name in ("pipeline", "stages"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "data" / "raw").mkdir(parents=True)
        for name in ("dvc.yaml", ".dvcignore", "data/raw/README.md"):
            shutil.copy(ROOT / name, folder / name)
        params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
        write_yaml(folder / "params.yaml", shrink(params))
        checkout = Checkout(folder)
        checkout.run("dvc", "init", "--quiet", "--no-scm")
        return checkout

    return make


@pytest.fixture(scope="session")
def finished(make_checkout: Callable[[], Checkout]) -> Checkout:
    """A checkout whose chain has run once, both tracks."""
    checkout = make_checkout()
    ran = checkout.repro()
    assert ran == {f"{stage}@{track}" for stage in STAGES for track in TRACKS}
    return checkout
