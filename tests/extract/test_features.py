"""The sample of features: which images, and what is kept of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from support.helpers import color_image, extract_settings, make_tiny, row, write_png

from pipeline.core.images import read_rgb, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.extract.features import choose_sample, keep_features

SHAPE = (40, 64)  # never square
TRACK1, TRACK3 = get_track("track1"), get_track("track3")


def _manifest(root: Path) -> Manifest:
    """Twelve val images of three classes with boxes, one without, one without labels, and one of split train."""
    rows = []
    for n in range(15):
        write_png(root / f"i{n:02d}.png", color_image((200, 15 * n, 30), n, SHAPE))
        rows.append({**row(f"i{n:02d}", f"i{n:02d}.png", [n % 3], "val", SHAPE), "boxes": [1, 1, 20, 20]})
    rows[12]["boxes"] = None
    rows[13]["labels"] = []
    rows[14]["split"] = "train"
    return from_rows(rows, ["a", "b", "c"], root, "foreground")


def test_the_sample_is_spread_over_the_classes_and_has_labels_and_truth(tmp_path: Path) -> None:
    val = _manifest(tmp_path).select("val")
    assert [record.labels for record in choose_sample(val, 3, TRACK3)] == [(0,), (1,), (2,)]
    assert len(choose_sample(val, 100, TRACK3)) == 12
    assert not {"i12", "i13", "i14"} & {record.id for record in choose_sample(val, 100, TRACK3)}
    assert choose_sample(val, 5, TRACK3) == choose_sample(val, 5, TRACK3)


def test_several_labels_count_where_a_label_map_tells_them_apart(tmp_path: Path) -> None:
    """Ten val images of two labels and two of one, all with masks."""
    rows = []
    for n in range(12):
        labels = [0, 1] if n < 10 else [2]
        rows.append({**row(f"i{n:02d}", f"i{n:02d}.png", labels, "val", SHAPE), "mask": f"m{n:02d}.png"})
    for kind, several in (("labels", 12), ("foreground", 2)):
        val = from_rows(rows, ["a", "b", "c"], tmp_path, kind)
        assert len(choose_sample(val, 100, TRACK1)) == several
        assert [record.id for record in choose_sample(val, 2, TRACK3)] == ["i10", "i11"]


@torch.inference_mode()
def test_features_and_weights_are_those_of_the_network(tmp_path: Path) -> None:
    manifest, classifier = _manifest(tmp_path), make_tiny()
    classifier.design = replace(classifier.design, offset=(0.25, -0.5))
    settings = extract_settings(diagnostic_images=4, sizes=[96, 64])
    assert keep_features(manifest, classifier, tmp_path / "out", settings, TRACK3) == 4
    store = Store(tmp_path / "out")
    assert store.about == {"pooling": "tap", "tap_threshold": 0.05, "offset": [0.25, -0.5]}
    for record in manifest.with_ids(store.ids):
        arrays = store.read(record.id)
        assert arrays["features"].shape == (96, 4, 6)  # 64 x 96 pixels at stride 16
        torch.testing.assert_close(
            torch.from_numpy(arrays["weights"]), classifier.head.weight[list(record.labels)].detach()
        )
        image = resize_image(read_rgb(record.file), (64, 96))
        expected = classifier.features(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
        found = torch.from_numpy(arrays["features"].astype(np.float32))
        torch.testing.assert_close(found, expected, rtol=2**-11, atol=1e-6)  # half precision


@torch.inference_mode()
def test_features_are_those_that_the_head_weighs(tmp_path: Path) -> None:
    """Of `acol` with convolutions, what its first branch makes of the backbone's."""
    classifier = make_tiny(method="acol", method_options={"width": 4})
    torch.manual_seed(0)
    for parameter in classifier.extra.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    manifest = _manifest(tmp_path)
    keep_features(manifest, classifier, tmp_path / "out", extract_settings(diagnostic_images=1, sizes=[96]), TRACK3)
    store = Store(tmp_path / "out")
    (record,) = manifest.with_ids(store.ids)
    image = torch.from_numpy(resize_image(read_rgb(record.file), (64, 96))).permute(2, 0, 1)[None]
    expected = classifier.extra["first_branch"](classifier.backbone_features(image))[0]
    found = torch.from_numpy(store.read(record.id)["features"].astype(np.float32))
    assert not torch.allclose(found, classifier.backbone_features(image)[0], atol=1e-3)
    torch.testing.assert_close(found, expected, rtol=2**-11, atol=1e-3)


def test_the_published_placement_has_no_offset(tmp_path: Path) -> None:
    settings, classifier = extract_settings(diagnostic_images=1, placement="grid"), make_tiny()
    classifier.design = replace(classifier.design, offset=(0.25, -0.5))
    keep_features(_manifest(tmp_path), classifier, tmp_path / "out", settings, TRACK3)
    assert Store(tmp_path / "out").about["offset"] == [0, 0]


def test_none_is_an_empty_store(tmp_path: Path) -> None:
    assert (
        keep_features(_manifest(tmp_path), make_tiny(), tmp_path / "out", extract_settings(diagnostic_images=0), TRACK3)
        == 0
    )
    assert Store(tmp_path / "out").ids == ()
