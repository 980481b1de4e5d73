"""The site: README, the pages of docs/ and the other pages that they link, in this order of navigation.

Sphinx reads them where they are, from the root of the project, so that a link is right both here and on a forge.
"""

from pathlib import Path
from shutil import copyfile

from sphinx.application import Sphinx

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
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
# Two diagrams that are drawn in the same millisecond get different names.
mermaid_init_config = {"startOnLoad": False, "deterministicIds": True}
mermaid_width = mermaid_height = "auto"
mermaid_fullscreen = False
# Or `--rows` would get one dash.
smartquotes = False
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = "engagement_db"
html_show_copyright = False


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


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
    app.connect("build-finished", name_first_page)
