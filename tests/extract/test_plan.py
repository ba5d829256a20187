"""Which images are extracted, in which shapes."""

from support.helpers import extract_settings

from pipeline.core.manifest import Manifest, from_rows
from pipeline.extract.plan import plan


def test_sizes_that_no_stage_has_read_are_read_from_the_files(manifest: Manifest) -> None:
    rows = [{**entry, "width": 0, "height": 0} for entry in manifest.table.to_pylist()]
    unread = from_rows(rows, manifest.classes, manifest.root, "labels")
    assert plan(unread, extract_settings(), 16) == plan(manifest, extract_settings(), 16)


def test_a_plan_puts_images_of_one_shape_side_by_side(manifest: Manifest) -> None:
    jobs = plan(manifest, extract_settings(sizes=[64, 96]), 16)
    assert {job.id: job.view_shapes for job in jobs} == {
        "wide_a": ((32, 64), (64, 96)),  # 2.5 positions of 16 pixels are rounded to even, 3.75 to 4
        "wide_b": ((32, 64), (64, 96)),
        "wide_c": ((32, 64), (64, 96)),
        "tall": ((64, 32), (96, 64)),
        "small": ((48, 64), (64, 96)),  # 2.6 and 3.9
    }
    shapes = [job.view_shapes for job in jobs]
    assert shapes == sorted(shapes)
    assert [job.id for job in jobs] == [job.id for job in plan(manifest, extract_settings(sizes=[64, 96]), 16)]
