"""Bad input of every kind: an error of the project with a cause, or used and counted; nothing is lost silently."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from support.bad_input import CASES, Case, inspect_with, outcome
from support.broken_images import BROKEN, TRUNCATED, UNUSUAL, File, picture
from support.checkout import ROOT

from pipeline.core.errors import DataError
from pipeline.core.images import read_rgb


def name_of(item: Case | File) -> str:
    return item.kind


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.kind}")
def test_every_kind_is_used_or_refused_with_a_message(case: Case, tmp_path: Path) -> None:
    row = outcome(case, tmp_path / "root")  # any other error than the project's is raised here
    if row.happened == "refused":
        assert re.search(r"expected .+(got|found|missing=)|same image id|twice", " ".join(row.message.split()))
    assert row.message


def test_the_page_says_what_happens() -> None:
    spec = importlib.util.spec_from_file_location("make_bad_input", ROOT / "docs/make_bad_input.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs/bad_input.md").read_text(encoding="utf-8")
    assert page == module.make_page().rstrip() + "\n", "messages or cases changed: run python docs/make_bad_input.py"


@pytest.mark.parametrize("file", TRUNCATED, ids=name_of)
def test_a_file_cut_at_any_tenth_is_refused(file: File, tmp_path: Path) -> None:
    file.make(tmp_path / file.name)
    with pytest.raises(DataError, match=rf"{file.name}: expected an image, got .*; likely a truncated download"):
        read_rgb(tmp_path / file.name)


@pytest.mark.parametrize("file", BROKEN, ids=name_of)
def test_a_broken_image_is_left_out_of_train_with_its_reason_and_stops_val_and_test(file: File, tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("error", "skip", "val", "test")]
    for root in roots:
        root.mkdir()
    with pytest.raises(DataError) as stopped:
        inspect_with(roots[0], file)
    reason = str(stopped.value).splitlines()[1].strip().removeprefix(f"{roots[0]}/")
    assert inspect_with(roots[1], file, on_bad_image="skip") == f"left out: {roots[1]}/{reason}"
    for root in roots[2:]:
        with pytest.raises(DataError, match="1 bad files"):
            inspect_with(root, file, split=root.name, on_bad_image="skip")


@pytest.mark.parametrize("file", UNUSUAL, ids=name_of)
def test_an_unusual_image_meets_its_rule_and_keeps_its_picture(file: File, tmp_path: Path) -> None:
    met = inspect_with(tmp_path, file)
    from pipeline.preprocess.known_defects import RULES

    assert RULES.get(file.rule, "read as it is") in met
    pixels = read_rgb(tmp_path / file.name)
    if file.rule in ("one_color_images", "long_sides"):
        return
    expected = picture()
    if len(np.unique(pixels - pixels[..., :1])) == 1:  # gray: the luma of Rec. 601
        expected = np.repeat(np.rint(expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    if "gray image of 16" in file.kind:
        expected = np.repeat(picture()[..., :1], 3, axis=2)
    if "one bit" in file.kind:
        return  # dithered
    assert pixels.shape == expected.shape  # stored pixels, not turned
    assert np.abs(pixels.astype(int) - expected).mean() < 20  # of an inverted picture: 90
