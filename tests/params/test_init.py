"""A params file for a folder of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.checkout import ROOT

from pipeline.core.errors import DataError
from pipeline.core.settings import read_params
from pipeline.params.check import check
from pipeline.params.init import for_folder, init, main

RECIPE = ROOT / "recipes" / "folder.yaml"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    lines = ["image,labels,split,boxes"]
    for number, split in enumerate(("train", "train", "val", "test")):
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((48, 64, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'' if split == 'test' else 'cat'},{split},{'0 0 9 9' if split == 'val' else ''}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("cat\n")
    return folder


def test_the_recipe_gets_the_folder_as_its_root(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    found = init(photos, out, RECIPE)
    source = read_params(out)["tracks"]["track1"]["preprocess"]
    assert (source["source"]["root"], source["watch"]) == (str(photos), f"{photos}/index.csv")
    assert found["track3"]["extract.sizes"] == [256]
    assert found["track3"]["refine.shape"] == "box"
    assert read_params(out)["tracks"]["track3"]["extract"]["sizes"] == "auto"  # other images, other sizes
    check(out)


def test_a_params_file_that_is_there_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipes").symlink_to(RECIPE.parent)
    monkeypatch.chdir(tmp_path)
    for text in ("mine", "mine, too"):
        Path("params.yaml").write_text(text)
        assert main([str(photos)]) == 0
    assert Path("params.yaml.before").read_text() == "mine"
    assert Path("params.yaml.before-2").read_text() == "mine, too"
    assert "track3.extract.sizes: auto, for these images [256]" in capsys.readouterr().out
    check(Path("params.yaml"))


def test_a_folder_in_another_layout_leaves_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        init(tmp_path, tmp_path / "params.yaml", RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_comments_stay(tmp_path: Path) -> None:
    text = for_folder(RECIPE.read_text(), Path("/data/cats"))
    assert text.count("data/raw/folder") == 2  # in the comment at the top
    assert "watch: '/data/cats/index.csv' # follows root" in text


def test_a_path_that_is_no_utf_8_is_refused_in_a_printable_message(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        init(tmp_path / "caf\udce9", tmp_path / "params.yaml", ROOT / "recipes/folder.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/caf\\xe9: expected a path in UTF-8")
    assert list(tmp_path.iterdir()) == []
