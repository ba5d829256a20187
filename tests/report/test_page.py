"""What all pages share: everything inside, nothing from a network, text that is no markup."""

import re
from pathlib import Path

import pytest

from pipeline.report import page
from pipeline.report.page import STATIC, TEMPLATES, render_page

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A page of its own, beside the shared templates."""
    for shared in TEMPLATES.iterdir():
        (tmp_path / shared.name).write_text(shared.read_text())
    (tmp_path / "own.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block content %}{{ text }}|{{ text | tojson }}{% endblock %}'
    )
    monkeypatch.setattr(page, "TEMPLATES", tmp_path)
    page._environment.cache_clear()
    yield "own.html.j2"
    page._environment.cache_clear()


def test_text_is_no_markup(template: str) -> None:
    made = render_page(template, {"title": EVIL, "text": EVIL}, charts_used=False)
    assert EVIL not in made
    assert made.count("&lt;script&gt;") == 3  # title, heading, text
    assert r"\u003cscript\u003e" in made


def test_charts_cost_their_library_only_where_there_are_some(template: str) -> None:
    values = {"title": "t", "text": ""}
    with_charts, without = (render_page(template, values, charts_used) for charts_used in (True, False))
    assert "window.vegaEmbed" in with_charts
    assert "window.vegaEmbed = " not in without
    assert len(without) < 60_000 < 800_000 < len(with_charts) < 1_500_000


def test_nothing_is_loaded_from_a_network(template: str) -> None:
    made = render_page(template, {"title": "t", "text": ""}, charts_used=False)
    assert "default-src 'none'" in made
    assert "connect-src" not in made  # none, by default
    assert not re.search(r"https?:|//www|url\(|@import", made)


def test_style_and_script_end_no_tag() -> None:
    for name in ("report.css", "gallery.js"):
        assert "</" not in (STATIC / name).read_text()
