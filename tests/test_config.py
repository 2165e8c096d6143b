from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgindex.config import Settings
from imgindex.errors import ImgindexError, SettingError

TOML = 'library = "toml-library"\nmodel = "toml-model"\ndevice = "cpu"\n'
ENVIRONMENT = {
    "IMGINDEX_LIBRARY": "environment-library",
    "IMGINDEX_MODEL": "environment-model",
    "IMGINDEX_DEVICE": "cuda:1",
}
ARGUMENTS = {"library": "argument-library", "model": "argument-model", "device": "cuda"}


def home(folder: Path, toml: str | bytes | None = None) -> dict[str, str]:
    if toml is not None:
        data = toml.encode() if isinstance(toml, str) else toml
        (folder / "config.toml").write_bytes(data)
    return {"IMGINDEX_HOME": str(folder)}


def test_without_anything_the_home_holds_it_all(tmp_path: Path) -> None:
    settings = Settings.resolve(environ=home(tmp_path))
    expected = Settings(str(tmp_path / "library"), tmp_path / "models", tmp_path / "thumbnails")
    assert settings == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["library", "model", "device"])
def test_an_argument_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, key: str
) -> None:
    name = f"IMGINDEX_{key.upper()}"
    environ = home(tmp_path, TOML)
    from_file = getattr(Settings.resolve(environ=environ), key)
    environ |= {name: ENVIRONMENT[name]}
    from_environment = getattr(Settings.resolve(environ=environ), key)
    arguments: dict[str, Any] = {key: ARGUMENTS[key]}
    from_argument = getattr(Settings.resolve(environ=environ, **arguments), key)
    assert from_file in TOML
    assert from_environment == ENVIRONMENT[name]
    assert from_argument == ARGUMENTS[key]


def test_hosts_are_words_of_the_environment_or_else_of_the_file(tmp_path: Path) -> None:
    environ = home(tmp_path, 'hosts = "http://file"\n')
    assert Settings.resolve(environ=environ).hosts == ("http://file",)
    environ["IMGINDEX_HOSTS"] = " http://NAS:8080/, sftp://archive\nftp://more "
    assert Settings.resolve(environ=environ).hosts == (
        "http://nas:8080",
        "sftp://archive",
        "ftp://more",
    )


def test_each_setting_comes_from_its_own_place(tmp_path: Path) -> None:
    environ = home(tmp_path, 'device = "cpu"\n') | {"IMGINDEX_MODEL": "from the environment"}
    settings = Settings.resolve(library="from an argument", environ=environ)
    assert (settings.library, settings.model, settings.device) == (
        "from an argument",
        "from the environment",
        "cpu",
    )


@pytest.mark.parametrize("empty", ["file", "environment"])
def test_an_empty_value_is_no_value(tmp_path: Path, empty: str) -> None:
    environ = home(tmp_path, 'library = ""\nmodel = ""\ndevice = ""\n' if empty == "file" else None)
    if empty == "environment":
        environ |= dict.fromkeys(ENVIRONMENT, "")
    settings = Settings.resolve(environ=environ)
    assert settings == Settings(
        str(tmp_path / "library"), tmp_path / "models", tmp_path / "thumbnails", None, "auto"
    )


def test_a_library_may_be_a_path(tmp_path: Path) -> None:
    settings = Settings.resolve(library=tmp_path / "mine", environ=home(tmp_path))
    assert settings.library == str(tmp_path / "mine")


def test_a_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert Settings.resolve(environ={"IMGINDEX_HOME": "here"}).models == tmp_path / "here/models"
    tilde = Settings.resolve(environ={"IMGINDEX_HOME": "~/pictures"})
    assert tilde.models == tmp_path / "user/pictures/models"


def test_the_platforms_folders_serve_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.resolve(environ={})
    assert Path(settings.library).is_absolute()
    assert Path(settings.library).parts[-2:] == ("imgindex", "library")
    assert settings.models.is_absolute()
    assert Path(settings.library).parent != settings.models.parent


def test_the_process_environment_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGINDEX_HOME", str(tmp_path))
    monkeypatch.setenv("IMGINDEX_MODEL", "seen")
    assert Settings.resolve().model == "seen"


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("library = ", "not valid TOML"),
        ("[[[", "not valid TOML"),
        ('modell = "typo"', "unknown key 'modell'; it knows library, model, device"),
        ("[library]\npath = 1", "library must be a string"),
        ("device = 3", "device must be a string, not 3"),
        (b'model = "\xff"', "cannot read the settings"),
    ],
)
def test_a_broken_settings_file_is_named_and_told(
    tmp_path: Path, toml: str | bytes, expected: str
) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.resolve(environ=home(tmp_path, toml))
    assert expected in str(caught.value)
    assert str(tmp_path / "config.toml") in str(caught.value)
    assert isinstance(caught.value, ImgindexError)
    assert isinstance(caught.value, ValueError)


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(SettingError, match="cannot read the settings"):
        Settings.resolve(environ=home(tmp_path))
