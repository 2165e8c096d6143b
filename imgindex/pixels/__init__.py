"""Bytes of a picture file to pixels, and pixels to thumbnails and sheets: the door to Pillow.

Pillow, its HEIF plugin, rawpy and numpy are loaded by the functions that need them and not with
this package: commands that only walk folders or ask for ``SUFFIXES`` start in a third of the time.
"""

from .decoding import VERSION, Decoded, decode, digest, small, square, thumbnail
from .drawing import chart, montage
from .raw import LACKING
from .reading import SUFFIXES, default_max_megapixels, lacking, memory, pages, recognise
from .sheets import activation_sheet, map_tile, maps_sheet, matches_sheet, overlay_tile

__all__ = [
    "LACKING",
    "SUFFIXES",
    "VERSION",
    "Decoded",
    "activation_sheet",
    "chart",
    "decode",
    "default_max_megapixels",
    "digest",
    "lacking",
    "map_tile",
    "maps_sheet",
    "matches_sheet",
    "memory",
    "montage",
    "overlay_tile",
    "pages",
    "recognise",
    "small",
    "square",
    "thumbnail",
]
