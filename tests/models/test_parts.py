"""A batch in parts: which parts there are, and that nothing else changes."""

import pytest
import torch

from pipeline.models.parts import PIXELS, in_parts, split_batch


def sizes_of_parts(images: torch.Tensor) -> list[int]:
    """How many images each call gets."""
    seen: list[int] = []

    def function(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return 2 * part[:, 0, 0]

    torch.testing.assert_close(in_parts(function, images), 2 * images[:, 0, 0], rtol=0, atol=0)
    return seen


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((512, 256), [4, 3]), ((512, 512), [2, 2, 2, 1]), ((1024, 768), [1] * 7), ((64, 32), [7])],
)
def test_a_part_has_half_a_million_pixels_or_one_image(shape: tuple[int, int], expected: list[int]) -> None:
    assert PIXELS == 524288
    with torch.inference_mode():
        assert sizes_of_parts(torch.arange(7.0).view(7, 1, 1, 1).expand(7, 3, *shape)) == expected


def test_a_batch_with_a_gradient_or_without_an_image_stays_whole() -> None:
    assert sizes_of_parts(torch.zeros(7, 3, 512, 512)) == [7]
    with torch.no_grad():
        assert sizes_of_parts(torch.zeros(0, 3, 512, 512)) == [0]


def test_rows_keep_their_order() -> None:
    values = torch.arange(10).view(5, 2)
    with torch.inference_mode():
        assert [part.tolist() for part in split_batch(values, 2)] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
        assert len(split_batch(values)) == 5
