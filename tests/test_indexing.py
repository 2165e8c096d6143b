"""What becomes of paths that hold no file any more, and of pictures a model finds nothing in."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pictures import png, scene
from PIL import Image

from imgindex import Library, embed, scan
from imgindex.embed import embedder
from imgindex.errors import (
    ExportError,
    ModelFileError,
    ModelNotFoundError,
    SettingError,
    StoreError,
)
from imgindex.records import Choice, QueryFailure
from imgindex.store import open_store
from imgindex.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgindex.records import Pixels, Rows


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(png(scene(seed, 48, 36)))
    return folder


@pytest.fixture
def library(tmp_path: Path, model_file: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", model=model_file, device="cpu") as opened:
        yield opened


def paths(library: Library) -> set[str]:
    """The names that results may give."""
    with closing(open_store(library.settings.library)) as store:
        return {Path(file.path).name for file in store.files() if file.id and not file.missing}


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize("turn", [to_folder, to_pipe, to_dead_link])
def test_a_path_that_holds_no_file_any_more_leaves_the_results(
    library: Library, photos: Path, turn: Callable[[Path], None]
) -> None:
    library.add([photos])
    turn(photos / "2.png")
    found = library.search(photos / "1.png", 10)
    assert "2.png" not in {Path(match.path).name for match in found.matches}  # at once
    report = library.add([photos])
    assert report.removed == 1
    assert paths(library) == {"0.png", "1.png", "3.png"}


def test_a_file_changed_behind_its_other_name_is_read_again(library: Library, photos: Path) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    library.add([link])
    library.add([photos])
    (photos / "2.png").write_bytes(png(scene(77, 48, 36)))
    # The walk goes by the folder's own name now and never meets the link's.
    report = library.add([photos, link])
    assert report.added == 1
    new = scan.content_id((photos / "2.png").read_bytes())
    assert len(library.paths([new])[new]) == 2


def test_a_folder_that_vanished_whole_can_be_named_and_pruned(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    (other / "new.png").write_bytes(png(scene(9, 48, 36)))
    library.add([photos, other])
    shutil.rmtree(other)
    report = library.add([photos, other], prune=True)
    assert (report.removed, report.unchanged) == (5, 4)
    assert library.status().pictures == 4
    with pytest.raises(SettingError, match="other"):  # forgotten by now
        library.add([other])


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Pixels], bool]], None]:
    """Make the model see nothing in some pictures."""

    def choose(hidden: Callable[[Pixels], bool]) -> None:
        encode = embed.Embedder.encode

        def partly(self: embed.Embedder, images: Pixels) -> Rows:
            rows = encode(self, images)
            rows[[hidden(image) for image in images]] = np.nan
            return rows

        monkeypatch.setattr(embed.Embedder, "encode", partly)

    return choose


def black(image: Pixels) -> bool:
    return not image.any()


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_picture_the_model_finds_nothing_in_costs_only_itself(
    library: Library,
    photos: Path,
    blind: Callable[[Callable[[Pixels], bool]], None],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    monkeypatch.setattr(embedder, "_CPU_BATCH", batch)
    blind(black)
    night = png(Image.new("RGB", (40, 40)))
    for name in ("a-night.png", "b-night.png"):
        (photos / name).write_bytes(night)
    report = library.add([photos])
    assert report.added == 4
    assert [(Path(one.path).name, one.reason) for one in report.skipped] == [
        ("a-night.png", "the model finds nothing in it"),
        ("b-night.png", "the model finds nothing in it"),
    ]
    answers = list(library.search_many([photos / "a-night.png", photos / "1.png"], 2))
    assert isinstance(answers[0], QueryFailure)
    assert answers[0].error.endswith("a-night.png")
    assert not isinstance(answers[1], QueryFailure)


def test_a_model_that_finds_nothing_in_anything_is_damaged(
    library: Library, photos: Path, blind: Callable[[Callable[[Pixels], bool]], None]
) -> None:
    blind(lambda _: True)
    with pytest.raises(ModelFileError, match="any of 4 pictures"):
        library.add([photos])


def test_a_model_that_is_not_here_is_told_where_nothing_is_embedded(
    library: Library, photos: Path
) -> None:
    library.add([photos])
    with (
        Library(library.settings.library, model="nosuch") as other,
        pytest.raises(ModelNotFoundError, match="nosuch"),
    ):
        other.search(scan.content_id((photos / "0.png").read_bytes()))


@pytest.mark.parametrize("way", ["export", "page", "montage"])
@pytest.mark.parametrize("name", ["same name", "link"])
def test_no_output_replaces_a_picture_of_the_library(
    library: Library, photos: Path, tmp_path: Path, way: str, name: str
) -> None:
    library.add([photos])
    library.cluster(min_cluster_size=2)
    result = library.search(photos / "0.png")
    target = photos / "1.png"
    if name == "link":
        (tmp_path / "door").symlink_to(photos)
        target = tmp_path / "door" / "1.png"
    before = target.read_bytes()
    saves: dict[str, Callable[[], object]] = {
        "export": lambda: library.export(target, kind="csv", force=True),
        "page": lambda: library.save_page(result, target, force=True),
        "montage": lambda: library.save_montage(result, target, force=True),
    }
    with pytest.raises(ExportError, match="is a picture of the library"):
        saves[way]()
    assert target.read_bytes() == before


def test_a_page_and_a_contact_sheet_are_replaced_when_asked(
    library: Library, photos: Path, tmp_path: Path
) -> None:
    library.add([photos])
    result = library.search(photos / "0.png")
    for name, save in (("a.html", library.save_page), ("a.png", library.save_montage)):
        save(result, tmp_path / name)
        with pytest.raises(ExportError, match="exists already"):
            save(result, tmp_path / name)
        save(result, tmp_path / name, force=True)


@pytest.mark.parametrize("place", ["a\0b", "x" * 300])
def test_impossible_places_are_refused_in_words(place: str, photos: Path, model_file: Path) -> None:
    with Library(place, model=model_file) as library, pytest.raises(StoreError):
        library.add([photos])


def test_an_unknown_users_folder_is_a_name_like_any_other(
    photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Library("~nobody-of-that-name/lib", model=model_file) as library:
        assert library.add([photos]).added == 4
    assert (tmp_path / "~nobody-of-that-name" / "lib" / "library.sqlite").exists()


@pytest.mark.parametrize("target", ["a\0b.csv", "x" * 300 + ".csv", "~nobody-of-that-name/a.csv"])
def test_impossible_targets_are_refused_in_words(
    library: Library, photos: Path, target: str
) -> None:
    library.add([photos])
    library.cluster(min_cluster_size=2)
    with pytest.raises(ExportError):
        library.export(target)


def test_what_a_stopped_run_left_out_of_the_groups_joins_in_the_next_one(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add([photos])
    library.cluster(min_cluster_size=2)
    (photos / "new.png").write_bytes(png(scene(9, 48, 36)))

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "refresh", stopped)
        with pytest.raises(KeyboardInterrupt):
            library.add([photos])
    assert len(library.grouping().ids) == 4
    assert library.add([photos]).unchanged == 5
    assert len(library.grouping().ids) == 5


def test_who_moved_in_a_run_that_was_stopped_has_moved(library: Library, photos: Path) -> None:
    library.add([photos])
    (photos / "0.png").rename(photos / "aside")
    assert library.add([photos]).removed == 1
    (photos / "aside").rename(photos / "other.png")
    assert library.add([photos]).moved == 1
    assert library.status().missing == 0
    # What was left out is where it was; another copy of it is no move.
    library.add([photos], choice=Choice(exclude=("1.png",)))
    shutil.copy(photos / "1.png", photos / "copy.png")
    assert library.add([photos], choice=Choice(exclude=("1.png",))).reused == 1
