"""Which files are pictures, by the endings of their names: lower-case with the dot."""

RENDERED = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""Of pictures as anyone may show them."""

RAW = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".gpr", ".iiq", ".kdc"),
        *(".mef", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf"),
        ".srw",
    )
)
"""Of raw files of cameras, which an extra is needed for."""

BESIDE = frozenset((".mov", ".mp4", ".xmp", ".aae"))
"""Of what belongs to the picture of the same name: the moving part of a Live Photo, edits."""
