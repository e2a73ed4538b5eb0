"""Web pages of one file that need no network: templates, players, tables, spectrograms and curves.

Each page is a Jinja2 template on ``base.html``, and lies next to the module that fills it.
"""
