"""Which images are decoded."""

from collections.abc import Callable
from pathlib import Path

from support.preflight import guard, make_disks, of

from pipeline.preflight import images, listing, params, run
from pipeline.preflight.context import Context


def test_the_same_images_are_decoded_every_time(tmp_path: Path, in_project: Callable[[Path], None]) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    chosen = []
    for seed in (0, 0, 1):
        context = Context(disks.write_params(), sample=5, seed=seed, minutes=0.0)
        guard(params.check_params, context)
        for check in (listing.check_listing, images.check_images):
            assert not of(guard(check, context, run.TRACKS["track3"]), "FAIL")
        chosen.append([record.id for record in context.good["track3"]])
    assert len(chosen[0]) == 15
    assert chosen[0] == chosen[1] != chosen[2]


def test_every_empty_file_of_val_and_test_fails_whatever_is_sampled(
    tmp_path: Path, in_project: Callable[[Path], None]
) -> None:
    disks = make_disks(tmp_path)
    in_project(tmp_path)
    empty = {disks.lid / f"LID_track3/{split}/{disks.track3.ids[split][2]}.JPEG" for split in ("val", "test")}
    train = disks.cls_train(30)
    for path in (*empty, train):
        path.write_bytes(b"")
    for sample in (0, 1000):
        context = Context(disks.write_params(), sample=sample, minutes=0.0)
        guard(params.check_params, context)
        guard(listing.check_listing, context, run.TRACKS["track3"])
        failed = of(guard(images.check_images, context, run.TRACKS["track3"]), "FAIL")
        expected = {path.relative_to(tmp_path).as_posix() for path in empty}
        if sample:
            expected.add(train.relative_to(tmp_path).as_posix())
        assert sorted(row.where for row in failed) == sorted(expected), "each once"
        assert all(row.hint.startswith("likely a truncated download") for row in failed)
