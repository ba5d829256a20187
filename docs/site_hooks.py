"""What MkDocs needs beside mkdocs.yml: the pages of the repository's root become pages of the site.

README.md is the first page; a link to a file that is no page, such as LICENSE, is shown as text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OF_THE_ROOT = {  # page of the repository's root: its name on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for source, name in OF_THE_ROOT.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    return rewrite_links(markdown, page.file.src_uri)


def rewrite_links(markdown: str, name: str) -> str:
    """The text of a page with links as they are on the site.

    Args:
        name: of the page on the site

    >>> rewrite_links("[a](docs/faq.md#x), ![b](docs/images/b.png), [c](LICENSE), [d](https://example.org)", "index.md")
    '[a](faq.md#x), ![b](images/b.png), c, [d](https://example.org)'
    >>> rewrite_links("[a](../../README.md#y), [b](crf.md), [c](#z)", "how/maps.md")
    '[a](../index.md#y), [b](crf.md), [c](#z)'
    """
    sources = {site: source for source, site in OF_THE_ROOT.items()}
    folder = posixpath.dirname(sources.get(name, f"docs/{name}"))

    def rewritten(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        file, separator, anchor = target.partition("#")
        there = posixpath.normpath(posixpath.join(folder, file))
        if there in OF_THE_ROOT:
            place = OF_THE_ROOT[there]
        elif there.startswith("docs/"):
            place = there.removeprefix("docs/")
        else:
            return words
        return f"{mark}[{words}]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{separator}{anchor})"

    return _LINK.sub(rewritten, markdown)
