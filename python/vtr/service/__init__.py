"""An index served over HTTP: JSON for programs, one page for people."""

from vtr.service.app import make_app

__all__ = ["make_app"]
