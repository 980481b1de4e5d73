"""The site: README, the pages of docs/ and the other pages that they link, in this order of navigation.

Sphinx reads them where they are, from the root of the project, so that a link is right both here and on a forge.
"""

import html
import os
import re
from pathlib import Path
from shutil import copyfile
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective

CONTENTS = {
    "Use it": ["verbs", "connecting", "services", "testing", "accounting"],
    "Operate it": ["operating", "deployment", "moving-from-sequelize", "beside-node", "clusters", "safety", "security"],
    "Look it up": ["commands", "reference", "data-dictionary", "diagrams"],
    "Change it": ["design", "revisions", "../CONTRIBUTING", "../benchmarks/README", "../CHANGELOG"],
}

project = "engagement_db"
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "**/node_modules"]
extensions = ["myst_parser"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
# Or `--rows` would get one dash.
smartquotes = False
html_theme = "furo"
pygments_dark_style = "github-dark"
# The site has all that it shows, so that it can be read without a network.
MERMAID = Path(os.environ["MERMAID"])
html_static_path = ["site.css", "site.js", str(MERMAID)]
html_css_files = ["site.css"]
html_title = "engagement_db"
html_show_copyright = False


class Diagram(SphinxDirective):
    """A diagram in mermaid, which the browser draws; a forge draws it from the same lines."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = html.escape("\n".join(self.content))
        return [nodes.raw("", f'<pre class="mermaid">\n{source}\n</pre>', format="html")]


def add_drawing(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Load what draws diagrams on the pages that have some."""
    if 'class="mermaid"' in context.get("body", ""):
        app.add_js_file(MERMAID.name)
        app.add_js_file("site.js")


def name_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Let a link that shows a file's name show the title there: on the site a page has no file."""
    source[0] = re.sub(r"\[[\w/-]+\.md\]\(", "[](", source[0])


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page its contents; on a forge it needs none."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            paths = "\n".join("docs/" + page for page in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{paths}\n```\n"


def name_first_page(app: Sphinx, error: Exception | None) -> None:
    """Let the address of the site itself show the first page."""
    if error is None:
        copyfile(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def refuse_foreign_files(app: Sphinx, error: Exception | None) -> None:
    """Fail if a page loads anything from another host."""
    for page in () if error else Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        foreign = re.findall(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^>]*>""", text)
        foreign += re.findall(r"""\bimport\b[^;\n]*["']https?://[^;\n]*""", text)
        if foreign:
            raise SphinxError(f"{page.name} loads {foreign[0]}, so it cannot be read without a network")


def setup(app: Sphinx) -> None:
    app.connect("source-read", name_pages)
    app.connect("source-read", add_contents)
    app.add_directive("mermaid", Diagram)
    app.connect("html-page-context", add_drawing)
    app.connect("build-finished", name_first_page)
    app.connect("build-finished", refuse_foreign_files)
