"""Other public sets from trees in their official layouts."""

import pytest
from support.inspection import ids_by_split, inspected, labels_by_id, listed, preprocess_settings
from support.trees import make_coco, make_cub, make_oxford_pet, make_pascal_voc, make_tiny_imagenet, make_wsol

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.tracks import TRACKS
from pipeline.preprocess.sources import try_to_list

MAKERS = {
    "oxford_pet": make_oxford_pet,
    "pascal_voc": make_pascal_voc,
    "cub": make_cub,
    "tiny_imagenet": make_tiny_imagenet,
    "wsol": make_wsol,
    "coco": lambda root: make_coco(root, root / "cache"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_images_splits_labels_and_classes_are_the_official_ones(tmp_path, name):
    tree = MAKERS[name](tmp_path)
    manifest = inspected(tree.source).manifest
    assert ids_by_split(manifest) == {split: tree.ids[split] for split in ("train", "val", "test")}
    kept = {*tree.ids["train"], *tree.ids["val"]}
    assert labels_by_id(manifest) == {image_id: labels for image_id, labels in tree.labels.items() if image_id in kept}
    assert list(manifest.classes) == tree.classes
    for record in manifest:
        assert record.file.is_file()
        assert (record.mask is not None or bool(record.boxes)) == (record.split == "val")


@pytest.mark.parametrize("name", MAKERS)
def test_a_root_that_is_missing_is_named_with_the_hint(tmp_path, name):
    tree = MAKERS[name](tmp_path / "tree")
    with pytest.raises(
        DataError, match=rf"{tmp_path}/none: expected .* found no such folder; link yours there .* or set preproc"
    ):
        listed({**tree.source, "root": str(tmp_path / "none")})


@pytest.mark.parametrize(("name", "inner"), [("oxford_pet", "oxford-iiit-pet"), ("pascal_voc", "VOCdevkit/VOC2012"),
                                             ("pascal_voc", "VOCdevkit"), ("cub", "CUB_200_2011"),
                                             ("tiny_imagenet", "tiny-imagenet-200")])  # fmt: skip
def test_the_root_may_be_the_inner_folder(tmp_path, name, inner):
    tree = MAKERS[name](tmp_path)
    inside = listed({**tree.source, "root": str(tmp_path / inner)})
    assert ids_by_split(inside) == {split: tree.ids[split] for split in ("train", "val", "test")}
    assert all(record.file.is_file() for record in inside)


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_image_is_named(tmp_path, name):
    tree = MAKERS[name](tmp_path)
    lost = tree.ids["val"][0]
    (record,) = listed(tree.source).with_ids([lost])
    record.file.unlink()
    with pytest.raises(
        DataError, match=rf"val: expected a file of each of {len(tree.ids['val'])} images, missing=\['{lost}'\]"
    ):
        listed(tree.source)


@pytest.mark.parametrize("make", [make_oxford_pet, make_cub])
def test_a_fifth_of_train_can_be_val(tmp_path, make):
    tree = make(tmp_path)
    found = ids_by_split(listed({**tree.source, "val": "fifth_of_train"}))
    assert found["val"] == tree.ids["train"][4::5]
    assert sorted(found["train"] + found["val"]) == sorted(tree.ids["train"])
    assert sorted(found["test"]) == sorted(tree.ids["val"] + tree.ids["test"])


@pytest.mark.parametrize(
    ("make", "class_name"), [(make_oxford_pet, "OxfordIIITPet"), (make_pascal_voc, "VOCSegmentation")]
)
def test_a_download_is_asked_for_only_if_nothing_is_there(tmp_path, monkeypatch, make, class_name):
    calls = []

    def refuse(root, **options):
        calls.append((root, options["download"]))
        raise OSError("no network")

    monkeypatch.setattr(f"torchvision.datasets.{class_name}", refuse)
    tree = make(tmp_path / "there")
    source = {**tree.source, "download": True}
    assert len(listed(source)) == sum(len(tree.ids[split]) for split in ("train", "val", "test"))
    assert not calls
    with pytest.raises(
        DataError, match=r"none: expected to download .* got OSError\('no network'\); likely no network, unpack"
    ):
        listed({**source, "root": str(tmp_path / "none")})
    assert calls == [(tmp_path / "none", True)]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_a_wrong_choice_of_a_source_names_the_key(tmp_path):
    tree = make_cub(tmp_path)
    with pytest.raises(
        SettingsError, match=r"params.yaml: preprocess.source.truth: expected 'boxes' or 'segmentations', got 'box'"
    ):
        listed({**tree.source, "truth": "box"})
    with pytest.raises(SettingsError, match=r"expected name to be one of .*; did you mean 'cub'\?"):
        listed({**tree.source, "name": "cubs"})


def test_what_is_tried_is_listed_with_its_problems_and_draws_no_mask(tmp_path):
    tree = make_coco(tmp_path, tmp_path / "cache")
    settings = preprocess_settings({**tree.source, "truth": "masks"})
    manifest, problems = try_to_list(settings, TRACKS["track1"])
    assert problems == []
    assert ids_by_split(manifest) == {split: tree.ids[split] for split in ("train", "val", "test")}
    assert not (tmp_path / "cache").exists()
    missing = preprocess_settings({**tree.source, "root": str(tmp_path / "none")})
    manifest, problems = try_to_list(missing, TRACKS["track1"])
    assert manifest is None
    assert len(problems) == 1
    assert "found no such folder" in problems[0]
