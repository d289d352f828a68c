"""Sphinx settings: Markdown pages, the docstrings of the public names, nothing loaded from the network."""

from __future__ import annotations

from firth import __version__

project = "firth"
author = "The firth authors"
copyright = author  # noqa: A001 - Sphinx's name
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True

html_theme = "furo"
html_title = f"firth {release}"
