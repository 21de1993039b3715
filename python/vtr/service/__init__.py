"""An index served over HTTP: JSON for programs, one page for people."""

from vtr.service.app import LOCAL_HOSTS, make_app

__all__ = ["LOCAL_HOSTS", "make_app"]
