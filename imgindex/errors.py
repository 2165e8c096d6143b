"""Every error that imgindex raises on purpose.

    ImgindexError
    ├── SettingError          a value given by the caller is out of range or unknown
    ├── PictureError          one file cannot be read as a picture; a run goes on without it
    │   ├── PictureTooLargeError  it is over a limit that the caller can raise
    │   └── MissingExtraError     what reads such files is not installed
    ├── ModelError
    │   ├── ModelNotFoundError    no such model, or none chosen
    │   ├── ModelFileError        a weights or model file is damaged, hostile or not understood
    │   ├── ModelMismatchError    the library was built with another model
    │   └── DownloadError         official weights could not be fetched
    ├── DeviceError           the processor asked for cannot be used
    ├── EngineError           the machines that were to compute cannot be used
    ├── StoreError
    │   ├── LibraryNotFoundError  there is no library at that place
    │   ├── LibraryBusyError      another process is writing to it
    │   ├── LibraryFormatError    it was written by a newer imgindex
    │   └── LibraryDamagedError   its files contradict each other
    ├── QueryError            the thing asked about is not there
    ├── GroupingError         there is nothing to group, or no grouping yet
    └── ExportError           the target cannot be written

Each message says what went wrong, with which value, and what to do. This module imports nothing.
"""


class ImgindexError(Exception):
    """Root of the tree: catch this to catch everything imgindex raises on purpose."""


class SettingError(ImgindexError, ValueError):
    """A value given by the caller is out of range or unknown."""


class PictureError(ImgindexError):
    """One file cannot be read as a picture. The message is the reason alone, without the path."""


class PictureTooLargeError(PictureError):
    """The picture is over a limit that the caller can raise, or that free memory sets."""


class MissingExtraError(PictureError):
    """What reads such files is not installed; with the extra that is named they can be read."""


class ModelError(ImgindexError):
    """Something about the model file."""


class ModelNotFoundError(ModelError):
    """No model of that name is here, or none was chosen and none is bundled."""


class ModelFileError(ModelError):
    """A weights or model file is damaged, refused as unsafe, or not understood."""


class ModelMismatchError(ModelError):
    """The library was built with another model than the one asked for."""


class DownloadError(ModelError):
    """Official weights could not be fetched, or what came is not what was announced."""


class DeviceError(ImgindexError):
    """The processor asked for cannot be used here."""


class EngineError(ImgindexError):
    """The engine is not installed, its cluster does not answer, or failed."""


class StoreError(ImgindexError):
    """Something about the library's files."""


class LibraryNotFoundError(StoreError):
    """There is no library at that place."""


class LibraryBusyError(StoreError):
    """Another process is writing to the library."""


class LibraryFormatError(StoreError):
    """The library was written by a newer imgindex, or is not a library."""


class LibraryDamagedError(StoreError):
    """The library's files contradict each other."""


class QueryError(ImgindexError):
    """The picture asked about cannot be found or read."""


class GroupingError(ImgindexError):
    """There is nothing to group, or no grouping was made yet."""


class ExportError(ImgindexError):
    """The export's target cannot be written."""
