"""Settings from arguments, environment and a TOML file; built by callers, never at import.

An argument beats the environment, the environment beats the file, the file beats the default:

========  ==================  ===========  ==========================================
setting   environment         TOML key     default
========  ==================  ===========  ==========================================
home      IMGINDEX_HOME       -            the platform's data and cache folders
library   IMGINDEX_LIBRARY    library      HOME/library, or ``library`` in the data folder
model     IMGINDEX_MODEL      model        the library's own, else a trained one at hand
device    IMGINDEX_DEVICE     device       auto
hosts     IMGINDEX_HOSTS      hosts        none
========  ==================  ===========  ==========================================

The file is HOME/config.toml, or ``config.toml`` in the platform's configuration folder.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = ("library", "model", "device", "hosts")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things lie and what to use.

    Attributes:
        library: folder or URL of the library.
        models: folder that holds pulled and imported models.
        thumbnails: folder that keeps small forms of pictures.
        model: name or file of the model, or None for the default.
        device: ``auto``, ``cpu``, ``openvino``, ``cuda``, ``cuda:N`` or ``tensorrt``.
        hosts: servers whose pictures may be shown, as ``http://nas:8080``.
    """

    library: str
    models: Path
    thumbnails: Path
    model: str | None = None
    device: str = "auto"
    hosts: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        *,
        library: str | os.PathLike[str] | None = None,
        model: str | None = None,
        device: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Settle every setting.

        Args:
            library: folder or URL, as an argument gave it.
            model: name or file of a model, as an argument gave it.
            device: processor, as an argument gave it.
            environ: the environment; ``os.environ`` if None.

        Raises:
            SettingError: the TOML file cannot be read or has an unknown key.
        """
        environ = os.environ if environ is None else environ
        home = environ.get("IMGINDEX_HOME")
        if home:
            base = Path(os.path.abspath(os.path.expanduser(home)))  # noqa: PTH111 - Path's raises for unknown users
            data = cache = settings = base
        else:
            from platformdirs import PlatformDirs

            dirs = PlatformDirs("imgindex", appauthor=False)
            data, cache = dirs.user_data_path, dirs.user_cache_path
            settings = dirs.user_config_path
        file = _read(settings / "config.toml")
        asked = {"library": library, "model": model, "device": device, "hosts": None}
        chosen = {
            key: asked[key] or environ.get(f"IMGINDEX_{key.upper()}") or file.get(key)
            for key in _KEYS
        }
        return cls(
            library=os.fspath(chosen["library"] or data / "library"),
            models=cache / "models",
            thumbnails=cache / "thumbnails",
            model=str(chosen["model"]) if chosen["model"] else None,
            device=str(chosen["device"] or "auto"),
            hosts=tuple(
                host.rstrip("/")
                for host in str(chosen["hosts"] or "").lower().replace(",", " ").split()
            ),
        )


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"cannot read the settings in {path}: {error}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from error
    for key, value in table.items():
        if key not in _KEYS:
            raise SettingError(f"{path}: unknown key {key!r}; it knows {', '.join(_KEYS)}")
        if not isinstance(value, str):
            raise SettingError(f"{path}: {key} must be a string, not {value!r}")
    return table
