"""The documentation site, which ``make docs`` builds with mkdocs.

hooks.py          what mkdocs calls
pages.py          pages that are not in docs/: sections of the README, CHANGELOG and others, the API reference
links.py          links between files of the repository, as links of the site or to a repository's web page
docstrings.py     references in docstrings as links
notebooks.py      notebooks as pages
gallery.py        sounds of the bundled models, written before the site is built
gallery_page.py   the page of these sounds
"""
