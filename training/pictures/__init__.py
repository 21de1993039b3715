"""Pictures of things that people name alike, in several drawing styles, from packages anyone can install."""

from .cache import Pictures, default_folder, load_pictures, save_pictures
from .concepts import Concept, plural_of, read_concepts, with_article
from .sources import SOURCES, STYLES

__all__ = [
    "SOURCES",
    "STYLES",
    "Concept",
    "Pictures",
    "default_folder",
    "load_pictures",
    "plural_of",
    "read_concepts",
    "save_pictures",
    "with_article",
]
