"""Training methods: one file each, named after the value of `train.method` that chooses it."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.core.errors import TrainError
from pipeline.models.methods.base import TrainingMethod


def method_names() -> list[str]:
    """The values of `train.method`: the modules of this folder, without `base` and those that begin with `_`."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def make_method(name: str, options: Mapping[str, Any]) -> TrainingMethod:
    """The method of that name; its options are the fields of its class.

    Raises:
        TrainError: if there is no such method, or an option is unknown or has a wrong value
    """
    known = method_names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TrainError(f"train.method: expected one of {known}, got {name!r}{hint}")
    kind: type[TrainingMethod] = importlib.import_module(f"{__name__}.{name}").Method
    allowed = [field.name for field in fields(kind)]
    if unknown := sorted(set(options) - set(allowed)):
        raise TrainError(f"train.method_options: expected options of {name!r} among {allowed}, got {unknown}")
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["train.method_options", *map(str, first["loc"])])
        raise TrainError(f"{where}: {first['msg']}, got {first['input']!r}") from None
