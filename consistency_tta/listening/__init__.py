"""Listening tests: a blinded page for raters, a server for their answers, and an analysis of them."""

from consistency_tta.listening.analysis import analyse
from consistency_tta.listening.builder import make
from consistency_tta.listening.server import serve

__all__ = ["analyse", "make", "serve"]
