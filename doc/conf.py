"""How the documentation is built: ``make docs``, warnings are errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from manpages import listed  # noqa: E402  # found through the path set above

from harpcaller import __version__  # noqa: E402  # likewise

project = "harpcaller"
author = "the harpcaller authors"
project_copyright = author
version = release = __version__

extensions = ["machines", "manpages"]
exclude_patterns = ["_build", "_ext", "news"]
nitpicky = True
default_role = None
highlight_language = "none"
smartquotes = False

html_theme = "alabaster"
html_theme_options = {
    "description": "Calls procedures on servers, keeps every result",
    # Lines of code and of JSON are long here.
    "page_width": "1200px",
    "body_max_width": "none",
}
html_show_sourcelink = False

man_show_urls = True
man_pages = listed(HERE / "man", author)
