"""The page of numbers, made of records alone."""

from dataclasses import replace

import pytest
from support.helpers import ROOT
from support.record import RESULTS, ablation_results

from pipeline.core.files import write_json
from pipeline.experiments.numbers import main, render
from pipeline.experiments.records import ablation_record, chain_record, read_records


@pytest.fixture
def chain(make_run):
    run = make_run()
    before = {"peak_iou": 0.5, "peak_threshold": 90}
    write_json(
        run.folder / "metrics.json", {"peak_iou": 0.75, "peak_threshold": 120, "images": 6, "before_crf": before}
    )
    return chain_record(run.params, "track3", run.folder, "My set", "make repro", minutes=3)


def test_the_page_shows_numbers_command_commit_seeds_duration_machine_and_params(chain) -> None:
    page = render([chain])
    for text in (
        "| [My set](#my-set-track3-chain), chain | track3 | peak IoU 0.7500 | 0 |",
        "| peak_iou | 0.7500 | 0.5000 |",
        "| peak_threshold | 120 | 90 |",
        "\n```\nmake repro\n```\n",
        "seeds 0; duration 3 min",
        chain.machine.processor,
        "percentile: 90.0",
    ):
        assert text in page
    assert render([chain]) == page


@pytest.mark.parametrize(
    ("commit", "changed", "words"),
    [(None, None, "commit unknown"), ("abc", True, "commit `abc` with changes"), ("abc", False, "commit `abc`")],
)
def test_commits_are_said(chain, commit, changed, words) -> None:
    record = replace(chain, code=replace(chain.code, commit=commit, changed=changed))
    assert f"- {words}; " in render([record])


def test_nothing_scored_is_said(chain) -> None:
    assert "| track3 | no truth to score | 0 |" in render([replace(chain, results={"peak_iou": None})])


def test_an_ablation_shows_its_tables(make_run, tmp_path) -> None:
    record = ablation_record(ablation_results(tmp_path / "ablation", make_run().params), "a set")
    page = render([record])
    assert "peak IoU 0.5000 ± 0.0100 → 0.5000 ± 0.0100" in page
    assert "\nBaselines: everything foreground 0.2500. Classification accuracy with GAP 0.5000 ± 0.0100.\n" in page
    assert "| P3 channels whose maxima share one cell | 0.500 ± 0.010 |" in page
    assert "| + TAP | ✓ | ✓ | ✓ | ✓ | 0.5000 ± 0.0100 | 0.5000 |" in page


def test_numbers_that_are_not_known_leave_no_words(make_run, tmp_path) -> None:
    record = ablation_record(ablation_results(tmp_path / "ablation", make_run().params), "a set")
    page = render([replace(record, results=replace(RESULTS, baselines={}, classification_accuracy={}, why={}))])
    assert "Baselines" not in page
    assert "accuracy with" not in page
    assert "**Diagnostics**" not in page


def test_the_command_adds_a_record_and_writes_the_page(make_run, tmp_path, capsys) -> None:
    folder = ablation_results(tmp_path / "butterflies-track3", make_run().params)
    page = tmp_path / "numbers.md"
    assert main(["--records", str(tmp_path / "records"), "--page", str(page), "ablation", str(folder)]) == 0
    assert (tmp_path / "records" / "butterflies-track3-ablation.json").is_file()
    assert page.read_text() == render(read_records(tmp_path / "records"))


def test_no_records_are_said(tmp_path, capsys) -> None:
    assert main(["--records", str(tmp_path), "--page", str(tmp_path / "n.md"), "render"]) == 1
    assert "found none" in capsys.readouterr().err


def test_the_page_in_the_repository_is_that_of_the_records() -> None:
    page = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")
    assert page == render(read_records(ROOT / "docs" / "numbers")), "run make numbers"
