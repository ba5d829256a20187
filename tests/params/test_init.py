"""A params file for a folder of images."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.checkout import ROOT

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.manifest import from_rows
from pipeline.core.settings import read_params
from pipeline.params.check import check
from pipeline.params.doubtful import Looked
from pipeline.params.init import choose_tracks, follow, init, is_edited, main, report

RECIPE = ROOT / "recipes" / "folder.yaml"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with a space in every name."""
    folder = tmp_path / "my photos"
    for number in range(16):
        file = folder / f"kind {number % 2}" / f"{number // 2}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (80, 96, 3), np.uint8)).save(file)
    return folder


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    folder = tmp_path / "indexed"
    folder.mkdir()
    lines = ["image,labels,split,boxes"]
    for number, (labels, split) in enumerate([("cat dog", "train"), ("cat", "train"), ("cat", "val"), ("", "test")]):
        Image.fromarray(np.full((48, 64, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{labels},{split},{'0 0 9 9' if split == 'val' else ''}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("cat\ndog\n")
    return folder


def test_class_folders_without_masks_are_localized(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    found = init(photos, out, RECIPE)
    assert list(check(out)) == ["track3"]
    values = read_params(out)["tracks"]["track3"]
    assert values["preprocess"]["source"] == {
        "name": "image_folder", "root": str(photos), "mask_root": None, "masks": "auto",
        "val_share": 0.2, "test_share": 0.0, "seed": 0,
    }  # fmt: skip
    assert values["preprocess"]["watch"] == str(photos)
    assert (values["package"], values["extract"]["splits"]) == ({"split": "val"}, ["val"])
    assert values["extract"]["sizes"] == "auto"  # other images, other sizes
    assert found.settled["track3"]["refine.shape"] == "free"


def test_an_index_with_several_classes_an_image_and_test_images(indexed: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    found = init(indexed, out, RECIPE)
    assert list(check(out)) == ["track1"]
    values = read_params(out)["tracks"]["track1"]
    assert (values["preprocess"]["source"]["root"], values["preprocess"]["watch"]) == (
        str(indexed), f"{indexed}/index.csv",
    )  # fmt: skip
    assert (values["package"]["split"], values["extract"]["splits"]) == ("test", ["val", "test"])
    both = init(indexed, out, RECIPE, track="both")
    assert list(check(out)) == ["track1", "track3"]
    assert both.settled["track3"]["refine.shape"] == "box"
    assert found.kept is both.kept is None


def test_comments_of_the_recipe_stay(indexed: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    init(indexed, out, RECIPE)
    text = out.read_text()
    assert "sampling: uniform # class_balanced: classes are seen equally often" in text
    assert "data/raw/folder" not in text


def test_the_command_says_what_it_found_and_what_to_do(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").symlink_to(RECIPE.parent)
    monkeypatch.chdir(tmp_path)
    assert main(["my photos"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "found: a folder of images for each class"
    assert any(line.startswith("  16 images (train ") and "['kind 0', 'kind 1']" in line for line in lines)
    assert "  neither masks nor boxes of the val images" in lines
    assert "  auto, by the images: extract: train_images 0, sizes [256]" in lines
    assert "  auto, by the images: student: enabled false" in lines
    assert any(line.startswith("no val image has a mask or boxes") for line in lines)
    expected = "next: `lid preflight` checks the run and says how long it takes (optional), `lid run` runs it"
    assert lines[-2] == expected
    assert main(["my photos", "--out", "my own.yaml"]) == 0
    line = capsys.readouterr().out.splitlines()[-2]
    assert "`lid preflight --params 'my own.yaml'` checks" in line
    assert "`lid run --recipe 'my own.yaml'` runs it" in line
    assert "lid predict data/track3" in lines[-1]
    assert read_params(Path("params.yaml"))["tracks"]["track3"]["preprocess"]["source"]["root"] == "my photos"


def test_an_edited_params_file_is_replaced_by_force_only_and_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").symlink_to(RECIPE.parent)
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(("mine", "mine, too")):
        Path("params.yaml").write_text(text)
        assert main(["my photos"]) == 1
        assert "found an edited file; --force replaces it" in capsys.readouterr().err
        assert Path("params.yaml").read_text() == text
        assert main(["my photos", "--force"]) == 0
        assert Path("params.yaml.bak" + ("-2" if number else "")).read_text() == text
    assert main(["my photos"]) == 0  # as it wrote it
    assert sorted(path.name for path in Path().glob("params.yaml.bak*")) == ["params.yaml.bak", "params.yaml.bak-2"]
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 0", "seed: 1"))
    assert main(["my photos"]) == 1


def test_a_recipe_and_what_git_has_are_not_edited(tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    assert not is_edited(out, RECIPE.parent)
    out.write_bytes((RECIPE.parent / "butterflies.yaml").read_bytes())
    assert not is_edited(out, RECIPE.parent)
    out.write_text("mine")
    assert is_edited(out, RECIPE.parent)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "mine"]):
        subprocess.run([*git, *words], check=True)
    assert not is_edited(out, RECIPE.parent)
    out.write_text("mine, changed")
    assert is_edited(out, RECIPE.parent)


def test_a_folder_in_another_layout_leaves_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        init(tmp_path, tmp_path / "params.yaml", RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_broken_train_images_are_skipped_and_the_rule_is_told(photos: Path, tmp_path: Path) -> None:
    manifest = init(photos, tmp_path / "params.yaml", RECIPE).manifest
    assert follow(manifest, Looked((), {"train": ["a"]}))["preprocess.on_bad_image"] == "skip"
    assert "preprocess.on_bad_image" not in follow(manifest, Looked((), {"val": ["a"]}))


def test_a_file_that_is_no_image_is_named_and_the_params_file_is_written(photos: Path, tmp_path: Path) -> None:
    broken = photos / "kind 0" / "broken.jpg"
    broken.write_text("no image", encoding="utf-8")
    out = tmp_path / "params.yaml"
    lines = report(init(photos, out, RECIPE), out)
    assert any(line.startswith(f"  broken: {broken}: expected an image") for line in lines)
    assert out.is_file()


def test_tracks_follow_the_labels() -> None:
    def of(*labels: list[int], classes: int = 2) -> tuple[str, ...]:
        rows = [{"id": str(n), "file": "a", "width": 1, "height": 1, "bytes": 0, "labels": one, "split": "train",
                 "mask": None, "boxes": None} for n, one in enumerate(labels)]  # fmt: skip
        return choose_tracks(from_rows(rows, [str(k) for k in range(classes)], Path(), "labels")).tracks

    assert of([0], [1]) == ("track3",)
    assert of([0], [0, 1], []) == ("track1",)
    assert of([0], [0, 1], classes=255) == ("track3",)


def test_a_path_that_is_no_utf_8_is_refused_in_a_printable_message(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        init(tmp_path / "caf\udce9", tmp_path / "params.yaml", ROOT / "recipes/folder.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/caf\\xe9: expected a path in UTF-8")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_recipe_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: expected a params file, found none"):
        init(photos, tmp_path / "params.yaml", tmp_path / "none.yaml")
