"""DVC's own views of a finished run in a git repository: metrics, plots, an experiment, and a clean working tree."""

import json
import shutil
from collections.abc import Callable

import pytest
from dvc.utils.hydra import apply_overrides
from support.checkout import ROOT, TRACKS, Checkout

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.com")


@pytest.fixture(scope="module")
def in_git(finished: Checkout, make_checkout: Callable[[], Checkout]) -> Checkout:
    """The finished run as a commit, with the files of git and DVC that the repository has."""
    checkout = make_checkout()
    shutil.rmtree(checkout.file(".dvc"))
    shutil.copy(ROOT / ".gitignore", checkout.file(".gitignore"))
    shutil.copytree(ROOT / ".dvc", checkout.file(".dvc"), ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    shutil.copytree(finished.file(".dvc/cache"), checkout.file(".dvc/cache"))
    for name in ("dvc.lock", "params.yaml"):
        shutil.copy(finished.file(name), checkout.file(name))
    checkout.run("git", "init", "--quiet")
    checkout.run("dvc", "checkout", "--quiet")
    checkout.run(*GIT, "add", ".")
    checkout.run(*GIT, "commit", "--quiet", "--message", "a run")
    return checkout


def tracked_changes(checkout: Checkout) -> str:
    return checkout.run("git", "status", "--porcelain").stdout


def test_outs_are_ignored_by_lines_that_are_committed(in_git: Checkout) -> None:
    """DVC adds no line of its own: a run changes no file of the repository but dvc.lock."""
    assert in_git.repro() == set()
    assert tracked_changes(in_git) == ""
    in_git.set("track3.report.width", 80)
    changed = in_git.file("params.yaml").read_text()
    assert in_git.repro() == {"report@track3"}
    assert tracked_changes(in_git).split() == ["M", "dvc.lock", "M", "params.yaml"]
    assert in_git.file("params.yaml").read_text() == changed
    in_git.run("git", "checkout", "--quiet", ".")
    in_git.run("dvc", "checkout", "--quiet")


def test_metrics_are_one_table_of_few_columns(in_git: Checkout) -> None:
    head, *rows = in_git.run("dvc", "metrics", "show").stdout.splitlines()
    assert len(head.split()) <= 8
    assert [row.split()[0] for row in rows] == [f"reports/{track}/scores.json" for track in TRACKS]


def test_every_plot_is_drawn(in_git: Checkout) -> None:
    shown = json.loads(in_git.run("dvc", "plots", "show", "--json").stdout)
    assert "errors" not in shown
    assert len(shown["data"]) == 7 + 2 * 8  # plots, and an image for each of 8 val images
    in_git.run("python", "-m", "pipeline.dvc_plots")
    page = in_git.file("dvc_plots/index.html").read_text()
    assert page.count("vegaEmbed('#") == 7
    assert '<script src="vega.js">' in page
    assert in_git.file("dvc_plots/vega.js").stat().st_size > 500_000
    assert tracked_changes(in_git) == ""


@pytest.mark.slow
def test_an_experiment_changes_its_key_alone(in_git: Checkout) -> None:
    apply_overrides(in_git.file("params.yaml"), ["tracks.track3.report.images=4"])  # the form that DVC writes
    in_git.run(*GIT, "commit", "--quiet", "--all", "--message", "params.yaml as DVC writes it")
    in_git.run("dvc", "exp", "run", "--name", "small", "--set-param", "tracks.track3.report.images=2")
    changed = in_git.run("git", "diff", "--unified=0", "params.yaml").stdout.splitlines()
    before, after = (line[1:] for line in changed if line[0] in "+-" and line[1] not in "+-")
    assert before.replace("images: 4", "images: 2") == after != before
    assert "small" in in_git.run("dvc", "exp", "show", "--csv").stdout
