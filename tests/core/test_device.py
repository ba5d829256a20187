"""Where the network runs: what `auto` means, and what is refused."""

import pytest
import torch

from pipeline.core import device
from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.errors import SettingsError


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("has_bf16", "learning", "expected"),
    [(True, False, "bf16"), (True, True, "fp32"), (False, False, "fp32"), (False, True, "fp32")],
)
@pytest.mark.usefixtures("cpu_only")
def test_auto_on_a_cpu(has_bf16: bool, learning: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: has_bf16)
    assert choose_hardware("auto", "auto", learning) == Hardware(torch.device("cpu"), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 0), "fp16"),  # V100
        ((7, 5), "fp16"),  # T4, RTX 20
        ((8, 0), "bf16"),  # A100
        ((9, 0), "bf16"),  # H100, H200
    ],
)
@pytest.mark.parametrize("learning", [False, True])
def test_auto_on_cuda_is_bf16_where_the_gpu_has_it_and_fp16_elsewhere(
    capability: tuple[int, int], expected: str, learning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # counts emulation
    hardware = choose_hardware("auto", "auto", learning)
    assert (hardware.device.type, hardware.precision) == ("cuda", expected)
    assert hardware.pins_memory


def test_the_gpu_that_is_used_decides_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_device", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: (8, 0) if gpu.index == 1 else (7, 0))
    assert [choose_hardware(name, "auto", learning=True).precision for name in ("cuda:0", "cuda:1")] == ["fp16", "bf16"]


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", None)])
def test_autocast_on_cuda_is_the_precision(
    precision: str, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, torch.dtype, bool]] = []
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype, enabled: asked.append((kind, dtype, enabled)))
    Hardware(torch.device("cuda"), precision).autocast()  # type: ignore[arg-type]
    ((kind, found, enabled),) = asked
    assert (kind, enabled) == ("cuda", dtype is not None)
    assert dtype is None or found == dtype


def test_memory_is_pinned_for_a_gpu_that_is_used_not_for_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not choose_hardware("cpu", "auto", learning=False).pins_memory


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_named_is_taken(precision: str) -> None:
    for learning in (True, False):
        assert choose_hardware("cpu", precision, learning).precision == precision


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "tpu", "cpu:x"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(
        SettingsError, match=f"^device: expected auto or a device of this machine, got '{name}' \\(.+\\)$"
    ):
        choose_hardware(name, "auto", learning=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_refused() -> None:
    with pytest.raises(SettingsError, match="device: expected auto or a device of this machine, got 'cuda'"):
        choose_hardware("cuda", "auto", learning=True)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"precision: expected auto or one of \['fp32', 'bf16', 'fp16'\], got 'fp8'"
    ):
        choose_hardware("cpu", "fp8", learning=False)
    with pytest.raises(SettingsError, match="precision: expected auto, fp32 or bf16 on cpu, got 'fp16'"):
        choose_hardware("cpu", "fp16", learning=False)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_is_the_precision(precision: str, dtype: torch.dtype) -> None:
    with Hardware(torch.device("cpu"), precision).autocast():  # type: ignore[arg-type]
        assert (torch.ones(2, 3) @ torch.ones(3, 2)).dtype == dtype
