"""A page: a template of ours, with the style, the script and the library of charts of all pages inside."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.report.formatting import format_count, format_score
from pipeline.report.vega import vega_script

TEMPLATES, STATIC = Path(__file__).parent / "templates", Path(__file__).parent / "static"


def render_page(template: str, values: Mapping[str, Any], charts_used: bool = True) -> str:
    """Make a page as HTML that loads nothing but the parts of its gallery, which lie beside it.

    Args:
        template: file in `templates/`, which extends `base.html.j2`
        values: names in it; `title` is one of them. Text is escaped
        charts_used: whether it holds charts of `vega.py`: 0.9 MB of JavaScript
    """
    page = _environment().get_template(template)
    shared = {"style": _static("report.css"), "script": _static("gallery.js"), "charts_used": charts_used}
    return page.render(values, **shared, vega=Markup(vega_script() if charts_used else "")).strip() + "\n"


def format_percent(share: float) -> str:
    """A share in 0..1 as a length in CSS.

    >>> format_percent(0.25)
    '25.00%'
    """
    return f"{100 * share:.2f}%"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # orders mean something
    environment.filters |= {"score": format_score, "count": format_count, "percent": format_percent}
    return environment


def _static(name: str) -> Markup:
    """A file of ours as it is: style and script are no text to escape."""
    return Markup((STATIC / name).read_text(encoding="utf-8"))
