"""imgindex: find pictures that look alike, and discover the groups in a picture library.

>>> from imgindex import Library
>>> with Library("photos.imgindex", model="untrained") as library:  # doctest: +SKIP
...     library.add(["~/Pictures"])
...     for match in library.search("holiday.jpg", k=5).matches:
...         print(match.score, match.path)
"""

from .errors import ImgindexError
from .library import Library
from .records import Box, PictureId, Term, Where
from .store import open_store

__all__ = ["Box", "ImgindexError", "Library", "PictureId", "Term", "Where", "open_store"]
__version__ = "0.1.0"
