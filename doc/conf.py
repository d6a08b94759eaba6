"""How the documentation is built: ``make docs``, warnings are errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from harpcaller import __version__  # noqa: E402  # found through the path set above

project = "harpcaller"
author = "the harpcaller authors"
project_copyright = author
version = release = __version__

extensions = ["machines"]
exclude_patterns = ["_build", "_ext", "news"]
nitpicky = True
default_role = None
highlight_language = "none"
smartquotes = False

html_theme = "alabaster"
html_theme_options = {"description": "Calls procedures on servers, keeps every result"}
html_show_sourcelink = False

man_show_urls = True
# Each page's title stands in its NAME section: (document, name, purpose, authors, section).
man_pages = [
    (f"man/{path.stem}", path.stem[:-2], purpose, [author], int(path.stem[-1]))
    for path, purpose in [
        (HERE / "man" / "harp.1.rst", "call procedures through a dispatcher"),
        (HERE / "man" / "harp.3.rst", "the client library"),
        (HERE / "man" / "harpd.8.rst", "run procedures when they are called"),
        (HERE / "man" / "harpcallerd.8.rst", "operate the dispatcher of calls"),
    ]
    if path.exists()
]
