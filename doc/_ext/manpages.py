"""Manual pages whose sources are written for rst2man, too.

Such a page begins with its name, a subtitle that says its purpose, and fields with the section
and the group.  Here the purpose goes to the NAME section, the fields go away, and a page's title
gets its section: there are two that are named harp.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


def listed(folder: Path, author: str) -> list[tuple[str, str, str, list[str], int]]:
    """Give the pages of a folder as Sphinx's ``man_pages`` wants them."""
    found = []
    for path in sorted(folder.glob("*.[1-9].rst")):
        name, section, _ = path.name.split(".")
        # Over- and underlined title, over- and underlined subtitle.
        purpose = [line for line in path.read_text("utf-8").splitlines() if line][4]
        found.append((f"{folder.name}/{name}.{section}", name, purpose, [author], int(section)))
    return found


class Flatten(SphinxTransform):
    """Takes the subtitle's section away, and what it has up to where it was."""

    default_priority = 700

    def apply(self) -> None:
        """Change the document, if it is a manual page."""
        folder, _, page = self.env.docname.rpartition("/")
        if folder != "man":
            return
        name, _, section = page.rpartition(".")
        outer = next(iter(self.document.findall(nodes.section)))
        title, inner = outer.children
        assert isinstance(title, nodes.title) and isinstance(inner, nodes.section)
        purpose, fields, *rest = inner.children
        assert isinstance(fields, nodes.field_list)
        title.children = [nodes.Text(f"{name}({section})")]
        outer.children = []
        outer.extend([title, *rest])
        if self.app.builder.format == "html":
            outer.insert(1, nodes.paragraph("", "", nodes.emphasis("", purpose.astext())))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx: take the transform."""
    app.add_transform(Flatten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
