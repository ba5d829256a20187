"""`lid plan`: text and JSON, wrong usage, and the page that its tables are on."""

import importlib.util
import json

import pytest
from support.helpers import ROOT
from support.preflight import RECIPE

from pipeline.plan import command

Capture = pytest.CaptureFixture[str]


def test_a_table_and_where_its_numbers_come_from(capsys: Capture) -> None:
    assert command.main(["--params", str(RECIPE), "--track", "track3", "--price", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("track3: 1,281,167 train, 23,151 val, 21,120 test images; seresnet50, ")
    assert printed[1] == "1 GPU with 16 cores, 1 x 16 cores for the rest"
    stages = [line.split(" | ")[1] for line in printed if line.startswith("| track3 |")]
    assert stages == ["preprocess", "train", "extract", "refine", "evaluate", "package", "report", "all"]
    assert "scaling = 0.9 share: assumed, not measured" in "\n".join(printed)
    (train,) = [line for line in printed if line.startswith("| track3 | train |")]
    assert "| cores that read | 3.01TB |" in train


def test_json_has_the_same_and_adds_up(capsys: Capture) -> None:
    options = ["--gpus", "8", "--nodes", "4", "--price", "2", "--node-price", "1", "--cost", "refine=0.2", "--json"]
    assert command.main(["--params", str(RECIPE), *options]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["site"] == {
        "gpus": 8, "gpu_cores": 128, "nodes": 4, "cores": 16, "price": 2.0, "node_price": 1.0,
    }  # fmt: skip
    assert plan["unit_costs"]["refine"] == {"value": 0.2, "unit": "core-seconds", "source": "given"}
    assert plan["hours"] == pytest.approx(sum(stage["hours"] for stage in plan["stages"]))
    assert plan["money"] == pytest.approx(sum(stage["money"] for stage in plan["stages"]))
    assert plan["images"]["track1"]["train"] == 349_319
    assert plan["disk"]["track3"]["zip"] == 21_120 * 40_000


@pytest.mark.parametrize(
    "options", [["--gpus", "0"], ["--nodes", "-1"], ["--train", "many"], ["--cost", "learn"], ["--track", "track2"]]
)
def test_wrong_usage(options: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(options)
    assert raised.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_the_tables_of_the_page_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_scale", ROOT / "docs/make_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.rewrite(page), "settings or costs changed: run python docs/make_scale.py"
    assert module.rewrite(f"before\n{module.START}\nold\n{module.END}\nafter\n").endswith(f"{module.END}\nafter\n")
