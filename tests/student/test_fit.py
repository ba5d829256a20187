"""Training: losses against slow references, kept views, what moves and what does not, and that it learns."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.helpers import CPU, random_images
from support.preflight import enabled_student
from support.student import SHAPE, Squares, new_student, parts, source_of, tiny_student
from torch import Tensor, nn

from pipeline.core.device import Hardware
from pipeline.core.images import read_rgb, resize, resize_image
from pipeline.core.tracks import TRACKS
from pipeline.preflight.model import build_student
from pipeline.student.fit import draw_views, fit_student, keep_views, label_loss, score_loss, set_mode, view_bytes
from pipeline.student.network import StudentNetwork
from pipeline.student.predict import mean_probabilities
from pipeline.student.targets import IGNORED, score_cells
from pipeline.train.trainer import Training

BF16 = Hardware(torch.device("cpu"), "bf16")


# --- losses -----------------------------------------------------------------------------------------------------------


def slow_score_loss(logits: Tensor, targets: Tensor) -> float:
    losses = []
    for logit, target in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        if target != IGNORED:
            losses.append(-target * math.log(p) - (1 - target) * math.log(1 - p))
    return sum(losses) / len(losses) if losses else 0.0


def slow_label_loss(logits: Tensor, targets: Tensor) -> float:
    losses = []
    for n, i, j in np.ndindex(*targets.shape):
        target = int(targets[n, i, j])
        if target != 255:
            cell = [math.exp(value) for value in logits[n, :, i, j].tolist()]
            losses.append(-math.log(cell[target] / sum(cell)))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("ignored", [0.0, 0.4, 1.0])
def test_losses_equal_plain_loops(ignored: float) -> None:
    random = torch.Generator().manual_seed(0)
    out = torch.rand((2, 3, 5), generator=random) < ignored
    scores = torch.rand((2, 3, 5), generator=random).masked_fill(out, IGNORED)
    logits = 3 * torch.randn((2, 1, 3, 5), generator=random)
    assert score_loss(logits, scores).item() == pytest.approx(slow_score_loss(logits, scores), rel=1e-5)
    labels = torch.randint(4, (2, 3, 5), generator=random).masked_fill(out, 255).to(torch.uint8)
    logits = 3 * torch.randn((2, 4, 3, 5), generator=random)
    assert label_loss(logits, labels).item() == pytest.approx(slow_label_loss(logits, labels), rel=1e-5)


def test_losses_by_hand() -> None:
    assert score_loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, IGNORED]]])).item() == pytest.approx(math.log(2))
    logits = torch.tensor([math.log(3.0), 0.0]).view(1, 2, 1, 1)
    assert label_loss(logits, torch.tensor([[[0]]], dtype=torch.uint8)).item() == pytest.approx(math.log(4 / 3))


def test_a_batch_without_a_cell_that_counts_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = (
        score_loss(logits[:, :1], torch.full((2, 4, 4), IGNORED)),
        label_loss(logits, torch.full((2, 4, 4), 255, dtype=torch.uint8)),
    )
    for loss in losses:
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, logits)
        assert not gradient.any()


# --- views ------------------------------------------------------------------------------------------------------------


def test_kept_features_are_those_of_the_same_views(squares: Squares, start: str) -> None:
    settings = tiny_student(start, views={"count": 2}, batch_size=4)
    network, source = new_student(settings), source_of(squares, settings, is_label=False)
    kept = keep_views(network, source.dataset, settings, CPU)
    images = len(source.images.ids)
    assert len(kept.targets) == 2 * images
    differ = 0
    for epoch, position in ((0, 0), (0, images - 1), (1, 4)):
        image, target, _ = source.dataset(epoch)[position]
        row = torch.tensor([epoch * images + position])
        with torch.inference_mode():
            expected = network.features(torch.from_numpy(image).permute(2, 0, 1)[None])
        for ours, level in zip(kept.at(row), expected, strict=True):
            # stored with 8 bits of mantissa; a convolution of another batch size rounds in its own way
            torch.testing.assert_close(ours.float(), level, rtol=2**-8, atol=1e-4)
        torch.testing.assert_close(kept.targets[row], score_cells(torch.from_numpy(target)[None], settings.targets))
        differ += not torch.equal(kept.targets[row], kept.targets[:1])
    assert differ == 2


def test_every_epoch_sees_each_image_once_in_one_of_its_views(start: str) -> None:
    settings = tiny_student(start, views={"count": 3})
    order, views = draw_views(50, settings, epoch=1)
    assert sorted(order.tolist()) == list(range(50))
    assert set(views.tolist()) == {0, 1, 2}
    for again, other in zip(draw_views(50, settings, epoch=1), draw_views(50, settings, epoch=2), strict=True):
        assert torch.equal(again, order) or torch.equal(again, views)
        assert not torch.equal(other, order)
        assert not torch.equal(other, views)
    assert not torch.equal(draw_views(50, tiny_student(start, seed=1), epoch=1)[0], order)
    assert not draw_views(50, tiny_student(start, views={"count": 0}), epoch=1)[1].any()


# --- training ---------------------------------------------------------------------------------------------------------


def train(squares: Squares, start: str, outputs: int, **changes: object) -> tuple[StudentNetwork, Training]:
    fast = {"epochs": 12, "optimizer": {"learning_rate": 0.003}, **changes}
    settings = tiny_student(start, **fast)
    network = new_student(settings, outputs)
    return network, fit_student(network, source_of(squares, settings, outputs > 1).dataset, settings, CPU)


def ious(network: StudentNetwork, squares: Squares) -> Sequence[float]:
    """Of val images, of foreground or of the class of the image."""
    found = []
    for record in squares.manifest.select("val"):
        image = torch.from_numpy(resize_image(read_rgb(record.file), (96, 128))).permute(2, 0, 1)[None]
        maps = mean_probabilities(network.eval(), [image], flip=True, hardware=CPU)[0].numpy()
        large = np.stack([resize(level, SHAPE) for level in maps])
        predicted = large[0] > 0.5 if len(large) == 1 else large.argmax(axis=0) == record.labels[0] + 1
        mask = squares.masks[record.id]
        found.append(float((predicted & mask).sum() / (predicted | mask).sum()))
    return found


@pytest.mark.parametrize("count", [1, 0], ids=["kept views", "new views"])
@pytest.mark.parametrize("kind", ["squares", "labeled"])
def test_it_learns_the_square(kind: str, count: int, start: str, request: pytest.FixtureRequest) -> None:
    """Mean IoU of three seeds: 0.74 to 0.87; everything as foreground has 0.2."""
    squares = request.getfixturevalue(kind)
    network, training = train(squares, start, {"squares": 1, "labeled": 4}[kind], views={"count": count})
    assert training.history[-1].train_loss < 0.5 * training.history[0].train_loss
    assert np.mean(ious(network, squares)) > 0.6
    assert training.best.epoch == 12  # the last one: no image with truth chooses


def test_kept_views_are_learnt_from_in_every_precision(squares: Squares, start: str) -> None:
    settings = tiny_student(start, epochs=3, views={"count": 1})
    losses = []
    for hardware in (CPU, BF16):
        network = new_student(settings)
        training = fit_student(network, source_of(squares, settings, False).dataset, settings, hardware)
        losses.append([epoch.train_loss for epoch in training.history])
    np.testing.assert_allclose(*losses, rtol=0.1)  # the decoder's own precision, three digits, over a few steps


def test_a_frozen_backbone_keeps_weights_and_statistics(squares: Squares, start: str) -> None:
    for count in (0, 1):
        fresh = parts(new_student(tiny_student(start)))
        network, _ = train(squares, start, 1, epochs=1, views={"count": count})
        learnt = parts(network)
        assert any("running_mean" in name for name in fresh["backbone"])
        moved = [name for name, value in fresh["backbone"].items() if not torch.equal(value, learnt["backbone"][name])]
        assert not moved
        still = [name for name, value in fresh["others"].items() if torch.equal(value, learnt["others"][name])]
        assert not still


@pytest.mark.parametrize("batch_norm", ["trained", "frozen"])
def test_a_trained_backbone_moves(batch_norm: str, squares: Squares, start: str) -> None:
    backbone = {"trained": True, "batch_norm": batch_norm}
    fresh = parts(new_student(tiny_student(start)))["backbone"]
    network, _ = train(squares, start, 1, epochs=1, views={"count": 0}, backbone=backbone)
    learnt = parts(network)["backbone"]
    for name, value in fresh.items():
        statistic = "running" in name or "num_batches" in name
        assert torch.equal(value, learnt[name]) == (statistic and batch_norm == "frozen"), name


def test_frozen_batch_norms_are_in_evaluation_mode_those_of_the_decoder_are_not(start: str) -> None:
    network = new_student(tiny_student(start, backbone={"output_stride": 16}, decoder={"name": "deeplabv3plus"}))
    set_mode(network, tiny_student(start))
    norms = {name: layer.training for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert {name.partition(".")[0]: mode for name, mode in norms.items()} == {"backbone": False, "decoder": True}
    assert all(mode != name.startswith("backbone.") for name, mode in norms.items())


def test_one_image_is_a_batch(start: str) -> None:
    """The pooled branch of this decoder has a batch norm over one cell."""
    network = new_student(tiny_student(start, backbone={"output_stride": 16}, decoder={"name": "deeplabv3plus"}))
    assert network.train()(random_images(1, 3, 64, 96)).shape == (1, 1, 16, 24)


def test_equal_seeds_learn_the_same(squares: Squares, start: str) -> None:
    states = [train(squares, start, 1, epochs=2, seed=seed)[0].state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


@pytest.mark.parametrize(("track", "cell"), [("track3", 4), ("track1", 1)])
def test_bytes_of_a_view_are_its_features_and_its_target(track: str, cell: int) -> None:
    """EfficientNet-Lite0 at 64 px: 24, 40, 112 and 320 channels of 16 x 16, 8 x 8, 4 x 4 and 2 x 2 cells."""
    context = enabled_student(track, views={"size": 64})
    network = build_student(context, TRACKS[track])
    features = 24 * 16**2 + 40 * 8**2 + 112 * 4**2 + 320 * 2**2
    assert view_bytes(network, context.settings[track]["student"]) == 2 * features + cell * 16**2
