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
