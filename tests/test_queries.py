"""Every form that a query can take, on real photos; filters and pages."""

from __future__ import annotations

import io
import itertools
import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import dng, every_format, exif, jpeg, png, scene, turned
from PIL import Image, ImageOps
from test_commands import PHOTOS, needs_photos
from test_fetch import serving
from typer.testing import CliRunner

from imgindex import Library, PictureId, fetch, pixels, scan, searching
from imgindex.cli import expression
from imgindex.cli.app import app
from imgindex.errors import QueryError, SettingError
from imgindex.pages import Pages, Ranking
from imgindex.records import AWAY, Box, Hit, QueryFailure, Term, Where, weighed, worded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgindex.asking import Query
    from imgindex.records import SearchResult

# Boxes

sides = st.floats(-200, 5000, allow_nan=False) | st.integers(-200, 5000)
lengths = st.floats(0.001, 5000) | st.integers(1, 5000)


@given(x=sides, y=sides, width=lengths, height=lengths, percent=st.booleans())
def test_a_box_is_read_as_it_is_written(
    x: float,
    y: float,
    width: float,
    height: float,
    percent: bool,  # noqa: FBT001 - a parameter
) -> None:
    box = Box(x, y, width, height, percent=percent)
    assert Box.parse(str(box)) == box


def test_boxes_are_read_in_pixels_and_in_percent() -> None:
    assert Box.parse("10,20,30,40") == Box(10, 20, 30, 40)
    assert Box.parse(" 10 , 20.5 ,30, 40") == Box(10, 20.5, 30, 40)
    assert Box.parse("10%,20%,50%,12.5%") == Box(10, 20, 50, 12.5, percent=True)
    assert Box(10, 20, 50, 50, percent=True).on(200, 400) == (20, 80, 120, 280)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no box"),
        ("1,2,3", "no box"),
        ("1,2,3,4,5", "no box"),
        ("1,2,3,four", "no box"),
        ("1%,2,3,4", "no box"),
        ("1,2,nan,4", "no box"),
        ("1,2,3,1e999", "finite"),
        ("1,2,0,4", "empty"),
        ("1,2,3,-4", "empty"),
    ],
)
def test_what_is_no_box_is_refused(text: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Box.parse(text)


@pytest.mark.parametrize(
    "text",
    ["640,0,10,10", "0,480,10,10", "-10,0,10,10", "0,0,700,10", "-40,0,100,100", "0%,0%,106%,10%"],
)
def test_a_box_outside_the_picture_is_refused_with_the_pictures_size(text: str) -> None:
    with pytest.raises(SettingError, match=r"of 640x480"):
        Box.parse(text).on(640, 480)


def test_a_box_that_stands_out_a_little_is_cut() -> None:
    assert Box(-5, -5, 300, 300).on(640, 480) == (0, 0, 295, 295)
    assert Box(600, 400, 60, 90).on(640, 480) == (600, 400, 640, 480)
    assert Box(-1, -1, 102, 102, percent=True).on(640, 480) == (0, 0, 640, 480)


decode = partial(pixels.decode, size=32, max_megapixels=100)


@pytest.mark.parametrize(
    "text",
    ["99.99999999999%,0%,1e-11%,100%", "0%,99.99999999999%,100%,1e-11%", "50%,50%,1e-30%,1e-30%"],
)
@pytest.mark.parametrize("encode", [png, jpeg])
def test_a_box_at_the_very_edge_stays_inside(text: str, encode: Any) -> None:
    data = encode(Image.new("RGB", (640, 480), "white"))
    assert decode(data, fit="squash", box=Box.parse(text)).pixels.min() >= 254


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("box", [Box(10, 6, 70, 41), Box(12.5, 10, 50, 75, percent=True)])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_box_is_of_the_upright_picture(orientation: int, box: Box, fit: Any) -> None:
    upright = scene(3, 120, 80)
    stored = turned(upright, orientation)
    crop = upright.crop([round(edge) for edge in box.on(120, 80)])  # type: ignore[arg-type]
    expected = decode(png(crop), fit=fit).pixels
    for data in (png(stored, exif=exif(orientation)), jpeg(stored, exif=exif(orientation))):
        got = decode(data, fit=fit, box=box)
        assert (got.width, got.height) == (120, 80)
        assert np.abs(got.pixels.astype(int) - expected).max() <= (0 if data[:1] == b"\x89" else 9)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("side", [64, 65, 128, 200, 1600])
def test_a_large_jpeg_is_not_decoded_smaller_than_its_box_needs(
    orientation: int, side: int
) -> None:
    fine = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (1600, 2400, 3), np.uint8)
    ).resize((2400, 1600))
    fine.paste(scene(1, 600, 400).resize((2400, 1600)), (0, 0), Image.new("L", fine.size, 200))
    data = jpeg(turned(fine, orientation), exif=exif(orientation))
    whole = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    box = Box(160, 0, side, side)
    best = np.asarray(whole.crop((160, 0, 160 + side, side)).resize((32, 32), 3), int)
    got = decode(data, fit="squash", box=box).pixels.astype(int)
    if side < 128:  # not even half of it would do: these are the very pixels
        assert np.abs(got - best).max() == 0
    assert np.abs(got - best).mean() < 3


# Expressions


def terms_of(*words: str, files: tuple[str, ...] = ()) -> list[Term]:
    return expression.parse(words, files.__contains__)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a", [("a", 1)]),
        ("a + b", [("a", 1), ("b", 1)]),
        ("a b c", [("a", 1), ("b", 1), ("c", 1)]),
        ("a - b", [("a", 1), ("b", AWAY)]),
        ("a - b c", [("a", 1), ("b", AWAY), ("c", 1)]),
        ("2:a + .5:b - 0.3:c", [("a", 2), ("b", 0.5), ("c", -0.3)]),
        ("-", [("-", 1)]),
        ("- a", [("-", 1), ("a", 1)]),
        ("- - -", [("-", 1), ("-", AWAY)]),
        ("a + -", [("a", 1), ("-", 1)]),
        ("2:- - a", [("-", 2), ("a", AWAY)]),
        ("a - -", [("a", 1), ("-", AWAY)]),
        ("2:3:a", [("3:a", 2)]),
        ("https://x/y", [("https://x/y", 1)]),
        ("2:https://x/y", [("https://x/y", 2)]),
        ("C:/a.jpg x:b", [("C:/a.jpg", 1), ("x:b", 1)]),
    ],
)
def test_words_become_terms(words: str, expected: list[tuple[str, float]]) -> None:
    found = terms_of(*words.split())
    assert [(term.picture, term.weight) for term in found] == expected


@pytest.mark.parametrize("words", ["+ a", "a +", "a -", "a + + b", "a - + b", "0:a", "a - 0:b", ""])
def test_words_that_are_no_expression_are_refused(words: str) -> None:
    with pytest.raises(SettingError, match=r"missing|cannot be -?0"):
        terms_of(*words.split())


def test_a_file_of_the_very_name_is_that_file() -> None:
    assert terms_of("2:a", files=("2:a",)) == [Term("2:a")]
    assert terms_of("x", "-", "2:a", files=("2:a",)) == [Term("x"), Term("2:a", AWAY)]
    assert terms_of("+", files=("+",)) == [Term("+")]
    assert terms_of("a", "+", "+", "+", "b", files=("+",)) == [Term("a"), Term("+"), Term("b")]


names = st.text(min_size=1, max_size=8) | st.sampled_from(["+", "-", "2:a", "1e5:", ":", "a b"])
weights = st.floats(1e-6, 1e6) | st.sampled_from([1.0, 0.5, 2.0])


@given(
    first=st.builds(Term, names, weights),
    others=st.lists(
        st.builds(
            lambda name, weight, sign: Term(name, sign * weight),
            names,
            weights,
            st.sampled_from([1, -1]),
        ),
        max_size=4,
    ),
)
@example(first=Term("+"), others=[Term("-", -1), Term("2:a", AWAY)])
def test_terms_are_read_as_they_are_written(first: Term, others: list[Term]) -> None:
    terms = [first, *others]
    assert terms_of(*worded(terms)) == terms


def test_weights_are_split_off() -> None:
    assert weighed("1.5:a:b") == (1.5, "a:b")
    assert weighed("a:b") == (None, "a:b")
    with pytest.raises(SettingError, match=r"x\.jpg cannot be nan"):
        Term("x.jpg", float("nan"))


# Filters


def test_filters_that_say_the_same_are_the_same() -> None:
    here = str(Path.cwd())
    one = Where(("*.png", "*.jpg"), ("a", "a/"), formats=("jpg", "PNG"), larger=(3, 4))
    other = Where(("*.jpg", "*.png"), (f"{here}/a",), formats=("PNG", "jpeg", "mpo"), larger=(4, 3))
    assert one == other
    assert hash(one) == hash(other)
    assert Where(("./a/*",)).paths == (f"{here}/a/*",)
    assert Where(formats=("jpg",)).formats == ("JPEG", "MPO")
    assert Where(after="2024-05-01 10:00").after == "2024-05-01T10:00"
    assert Where().anything
    assert Where(formats=()).anything
    assert not Where(ids=frozenset()).anything


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("after", "24", "after must be a date"),
        ("before", "2024-13", "before must be a date"),
        ("before", "2024-02-30", "2024-02-30"),
        ("after", "2024-05-01T25:00", "after must be a date"),
        ("after", "2024-05-01T10", "after must be a date"),
        ("after", "\uff12\uff10\uff12\uff14", "after must be a date"),
        ("larger", (0, 5), "larger must be"),
        ("smaller", (5,), "smaller must be"),
        ("orientation", "tall", "landscape, portrait, square"),
        ("paths", ("",), "empty"),
        ("folders", ("",), "empty"),
    ],
)
def test_filters_that_say_nothing_are_refused(field: str, value: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Where(**{field: value})


# Pages


def ranked(names: Iterable[str], *, version: str = "1", reach: int = 9) -> Ranking:
    hits = [Hit(name, 0.5) for name in names]
    return Ranking.of(hits, {}, reach=reach, ended=False, way="exact", version=version)


def kept(pages: Pages, key: str) -> list[str]:
    ranking = pages.get(key)
    return [] if ranking is None else [hit.id for hit in ranking.hits(0, len(ranking.ids))]


def test_a_longer_list_goes_on_where_the_shorter_one_ended() -> None:
    first, longer = ranked("ac"), ranked("abcd", version="2", reach=50)
    both = first.go_on(longer)
    assert [hit.id for hit in both.hits(0, 9)] == list("acbd")  # b was missed the first time
    assert (both.reach, both.version) == (50, "1")


def test_what_drops_out_of_a_list_is_not_counted() -> None:
    first = ranked("abcdef").cleared([1], 2)
    assert [hit.id for hit in first.hits(0, 9)] == list("acdef")
    assert first.checked == 2
    again = first.cleared([], 4).cleared([0], 1)  # one vanished that had been there
    assert [hit.id for hit in again.hits(0, 9)] == list("cdef")
    assert again.checked == 3
    assert again.cleared([3], 3).checked == 3


def test_a_list_begins_anew_unless_it_would_begin_the_same() -> None:
    pages = Pages()
    pages.keep("q", ranked("abcd"))
    pages.begin("q", ranked("ab"))
    assert kept(pages, "q") == list("abcd")
    pages.begin("q", ranked("ac"))
    assert kept(pages, "q") == list("ac")
    pages.begin("q", ranked("a", version="2"))  # pictures may have come in between
    assert kept(pages, "q") == ["a"]
    assert kept(pages, "other") == []


def test_pages_keep_so_many_hits_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgindex.pages._HITS", 10_000)
    monkeypatch.setattr("imgindex.pages._LISTS", 320)
    pages = Pages()
    many = [str(at) for at in range(6_000)]
    pages.keep("first", ranked(many))
    pages.keep("first", ranked(many))  # told twice, counted once
    pages.keep("second", ranked(many[:3_000]))
    assert len(kept(pages, "first")) == 6_000
    pages.keep("first", ranked(many))
    pages.keep("third", ranked(many[:2_000]))
    assert kept(pages, "second") == []  # the oldest one is gone
    assert len(kept(pages, "first")) == 6_000
    pages.keep("long", ranked(map(str, range(12_000))))  # the newest stays, however long it is
    assert len(kept(pages, "long")) == 12_000
    assert kept(pages, "first") == kept(pages, "third") == []
    for number in range(330):
        pages.keep(str(number), ranked("a"))
        assert kept(pages, "0") == ["a"]  # what is asked for again stays
    assert kept(pages, "20") == ["a"]
    assert kept(pages, "1") == []


# Ids that are no files, rows as queries, and a search in steps


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """A library of a dozen drawn scenes in the folder ``pictures`` beside it."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "pictures").mkdir()
    for seed in range(12):
        (folder / "pictures" / f"{seed}.png").write_bytes(png(scene(seed, 48, 36)))
    with Library(folder / "library", model=model_file, device="cpu") as library:
        library.add([folder / "pictures"])
    return folder


@pytest.fixture
def small(drawn: Path, model_file: Path) -> Iterator[Library]:
    with Library(drawn / "library", model=model_file, device="cpu") as library:
        yield library


def test_a_picture_id_is_never_a_file(
    small: Library, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (drawn / "pictures" / f"{seed}.png" for seed in (0, 1))
    known = PictureId(id_of(first))
    monkeypatch.chdir(tmp_path)
    shutil.copy(second, known)
    assert small.search(str(known), 1).matches[0].path == str(second)  # the file of that name
    result = small.search(known, 3)
    assert result.query == known
    assert result.matches == small.search(first, 3).matches
    both = small.search([Term(known), Term(str(known))], 2)
    assert {Path(match.path).name for match in both.matches} == {"0.png", "1.png"}
    half = Box(0, 0, 50, 50, percent=True)
    ways = [small.search(Term(one, box=half), 12).matches for one in (known, first)]
    assert ways[0] == ways[1]
    assert small.together([known, PictureId(id_of(second))]).pictures == (known, id_of(second))
    assert small.features(known).picture == str(first)


def test_picture_ids_are_looked_up_at_once_and_without_the_file_system(
    small: Library, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [PictureId(id_of(drawn / "pictures" / f"{seed}.png")) for seed in range(5)]
    store = small._resources.store()
    calls: list[Any] = []
    look_up = store.vectors

    def counted(some: Any) -> Any:
        calls.append(some)
        return look_up(some)

    monkeypatch.setattr(store, "vectors", counted)
    for name in ("lexists", "isdir"):
        monkeypatch.setattr(f"os.path.{name}", None)
    answers = list(small.search_many([*ids, PictureId("f" * 32), PictureId("~")], 1))
    assert [a.matches[0].id for a in answers if not isinstance(a, QueryFailure)] == ids
    assert len(calls) == 1
    assert answers[5:] == [
        QueryFailure("f" * 32, f"no indexed picture has the id {'f' * 32}"),
        QueryFailure("~", "no indexed picture has the id ~"),
    ]
    for unknown in (lambda one: small.together([ids[0], one]), small.features, small.see):
        with pytest.raises(QueryError, match="no indexed picture has the id beef"):
            unknown(PictureId("beef"))
    half = Box(0, 0, 50, 50, percent=True)
    with pytest.raises(QueryError, match="no indexed picture has the id beef"):
        small.search(Term(PictureId("beef"), box=half))


def test_a_row_is_a_query(small: Library, drawn: Path) -> None:
    pictures = [str(drawn / "pictures" / f"{seed}.png") for seed in (3, 4)]
    rows = [vectors(small)[id_of(Path(one))] for one in pictures]
    result = small.search(rows[0], 5)
    assert result.query == "a vector"
    expected = small.search(pictures[0], 5).matches
    assert [match.id for match in result.matches] == [match.id for match in expected]
    longer = small.search(rows[0] * np.float32(7), 5).matches
    assert [m.score for m in longer] == pytest.approx([m.score for m in expected], abs=1e-6)
    mixed = small.search([Term(rows[0], name="a"), Term(rows[1], AWAY, name="b")], 5)
    assert mixed.query == "a - b"
    told = small.search([Term(pictures[0]), Term(pictures[1], AWAY)], 5).matches
    assert [match.id for match in mixed.matches] == [match.id for match in told]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (np.ones(3, np.float32), r"a vector has shape \(3,\); it takes \(256,\) here"),
        (np.ones((1, 256), np.float32), r"shape \(1, 256\)"),
        (np.zeros(256, np.float32), "length 0; give finite numbers, not all 0"),
        (np.full(256, np.nan, np.float32), "length nan"),
        (np.full(256, np.inf, np.float32), "length inf"),
        (np.full(256, 1e200), "length inf"),
        (np.array(["a"] * 256), "neither a picture nor an array of numbers"),
    ],
    ids=["short", "matrix", "zero", "nan", "infinite", "huge", "words"],
)
def test_what_is_no_row_is_told(small: Library, row: Any, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        small.search(row)
    with pytest.raises(QueryError, match=says):
        small.see(Term(row))
    with pytest.raises(SettingError, match="a vector has no parts"):
        Term(row, box=Box(0, 0, 1, 1))


def test_a_search_can_be_taken_in_steps(small: Library, drawn: Path) -> None:
    known = drawn / "pictures" / "5.png"
    expected = vectors(small)[id_of(known)]
    for one in (known, str(known), known.read_bytes(), PictureId(id_of(known)), Term(expected)):
        np.testing.assert_allclose(small.see(one), expected, atol=1e-7)
    half = Box(0, 0, 50, 50, percent=True)
    queries: list[Any] = [jpeg(scene(77)), Term(known, box=half), Term(png(scene(78)), -1)]
    seen: list[Any] = [small.see(query) for query in queries]
    assert [(one.shape, str(one.dtype)) for one in seen] == [((32, 32, 3), "uint8")] * 3
    assert small.batch >= 1
    rows = small.embed(seen)
    assert rows.shape == (3, 256)
    for query, row in zip(queries[:2], rows, strict=False):
        mine, theirs = small.search(row, 5).matches, small.search(query, 5).matches
        assert [match.id for match in mine] == [match.id for match in theirs]
        assert [m.score for m in mine] == pytest.approx([m.score for m in theirs], abs=1e-5)
    assert small.embed([]).shape == (0, 256)
    for wrong in (seen[0][:5], seen[0].astype(np.float32), rows[0]):
        with pytest.raises(SettingError, match="must be uint8"):
            small.embed([wrong])
    with pytest.raises(QueryError, match="cannot read -: not a picture"):
        small.see(b"nothing")
    with pytest.raises(QueryError, match="lies outside the picture"):
        small.see(Term(known, box=Box(900, 900, 10, 10)))
    with pytest.raises(QueryError, match="there is no file"):
        small.see("nowhere.png")


# Real photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen photos by kind; some turned, dated, in another format or at two places."""
    folder = tmp_path_factory.mktemp("queries") / "photos"
    kinds = sorted({path.parent for path in PHOTOS.rglob("*.jpg")})[::7][:6]
    for at, path in enumerate(sorted(p) for kind in kinds for p in [kind.glob("*.jpg")]):
        for number, photo in enumerate(path[:4]):
            target = folder / f"kind{at}" / f"{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(photo) as opened:
                image = opened.convert("RGB")
                if number == 1:
                    image.save(target.with_suffix(".png"))
                elif number == 2:
                    image.save(
                        target, quality=95, exif=exif(taken=f"202{at}:05:0{at + 1} 10:00:00")
                    )
                elif number == 3:
                    turned(image, 6).save(target, quality=95, exif=exif(6))
                else:
                    shutil.copy(photo, target)
    (folder / "copies").mkdir()
    shutil.copy(folder / "kind0/0.jpg", folder / "copies/again.jpg")
    return folder


@pytest.fixture(scope="module")
def place(folder: Path, model_file: Path) -> Path:
    place = folder.parent / "library"
    with Library(place, model=model_file, device="cpu") as library:
        library.add([folder])
        library.cluster(min_cluster_size=3, min_samples=2, space="descriptor")
    return place


@pytest.fixture
def library(place: Path, model_file: Path) -> Iterator[Library]:
    with Library(place, model=model_file, device="cpu") as library:
        yield library


def found(result: SearchResult) -> list[str]:
    return ["/".join(Path(match.path).parts[-2:]) for match in result.matches]


def scores(result: SearchResult) -> dict[str, float]:
    return {match.id: match.score for match in result.matches}


def id_of(path: Path) -> str:
    return scan.content_id(path.read_bytes())


def vectors(library: Library) -> dict[str, np.ndarray[Any, Any]]:
    return dict(zip(*library._resources.store().vectors(), strict=True))


@needs_photos
def test_a_file_its_id_and_its_bytes_ask_the_same(library: Library, folder: Path) -> None:
    photo = folder / "kind2/1.png"
    asked: list[Query] = [photo, str(photo), id_of(photo), id_of(photo)[:9], photo.read_bytes()]
    asked += [Term(photo), [Term(photo.read_bytes(), 3, name="upload")]]
    results = [library.search(query, 7) for query in asked]
    assert found(results[0])[0] == "kind2/1.png"
    assert results[0].matches[0].score == 1.0
    assert all(one.matches == results[0].matches for one in results)
    texts = [str(photo), str(photo), id_of(photo), id_of(photo)[:9], "-", str(photo), "upload"]
    assert [one.query for one in results] == texts
    unknown = photo.read_bytes() + b"\0"  # the same pixels, other bytes
    assert found(library.search(unknown, 3))[0] == "kind2/1.png"
    for broken, reason in ((b"", "empty file"), (b"no picture", "not a picture")):
        with pytest.raises(QueryError, match=f"cannot read x: {reason}"):
            library.search(Term(broken, name="x"))


@needs_photos
@pytest.mark.parametrize("name", ["kind1/0.jpg", "kind3/1.png", "kind4/3.jpg"])
@pytest.mark.parametrize("box", ["30%,20%,40%,60%", "16,20,120,96"])
def test_a_part_of_a_photo_finds_what_the_crop_saved_as_a_file_finds(
    library: Library, folder: Path, tmp_path: Path, name: str, box: str
) -> None:
    photo = folder / name
    with Image.open(photo) as image:
        upright = ImageOps.exif_transpose(image)
        edges = Box.parse(box).on(*upright.size)
        upright.crop([round(edge) for edge in edges]).save(tmp_path / "crop.png")  # type: ignore[arg-type]
    expected = library.search(tmp_path / "crop.png", 25)
    for query in (photo, id_of(photo), id_of(photo)[:8], photo.read_bytes()):
        result = library.search(Term(query, box=Box.parse(box)), 25)
        assert result.query.endswith(f"[{box}]")
        if "%" not in box:
            assert found(result) == found(expected)
        for its_id, score in scores(result).items():
            assert score == pytest.approx(scores(expected)[its_id], abs=3e-3)
    # The whole as a box is the picture, found by its looks and not as itself.
    whole = library.search(Term(photo, box=Box(0, 0, 100, 100, percent=True)), 1)
    assert found(whole) == [name]
    # And the crop, once indexed, is what the box finds.
    with Library("memory:", model=library.settings.model, device="cpu") as fresh:
        fresh.add([folder, tmp_path])
        best = fresh.search(Term(photo, box=Box.parse(box)), 1).matches[0]
        assert Path(best.path).name == "crop.png"
        assert best.score > 0.995


@needs_photos
def test_a_box_is_looked_up_in_the_first_file_that_can_be_read(
    model_file: Path, folder: Path, tmp_path: Path
) -> None:
    photo = folder / "kind0/0.jpg"
    copies = [tmp_path / "photos" / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    copies[0].parent.mkdir()
    for copy in copies:
        shutil.copy(photo, copy)
    query = Term(id_of(photo), box=Box(0, 0, 50, 50, percent=True))
    with Library("memory:", model=model_file, device="cpu") as library:
        library.add([tmp_path / "photos"])
        expected = scores(library.search(query))
        copies[0].unlink()
        shutil.copy(folder / "kind1/0.jpg", copies[1])  # another picture by now
        assert scores(library.search(query)) == expected
        copies[2].unlink()
        with pytest.raises(QueryError, match="no file of the picture"):
            library.search(query)


@needs_photos
def test_a_box_that_does_not_fit_is_told_with_the_size(library: Library, folder: Path) -> None:
    photo = folder / "kind0/0.jpg"
    with Image.open(photo) as image:
        width, height = image.size
    with pytest.raises(QueryError, match=f"of {width}x{height}"):
        library.search(Term(photo, box=Box(width, 0, 10, 10)))
    (first, second) = library.search_many([Term(photo, box=Box(0, 0, 9999, 9)), Term(photo)])
    assert isinstance(first, QueryFailure)
    assert not isinstance(second, QueryFailure)


@needs_photos
def test_several_pictures_are_their_weighted_sum(library: Library, folder: Path) -> None:
    known = vectors(library)
    a, b, c = (folder / f"kind{at}/0.jpg" for at in (1, 3, 5))
    for weights in ((1, 1, 1), (2, 0.25, -0.5), (1, -0.5, -0.5), (-1, 0.5, 0.1)):
        terms = [Term(path, weight) for path, weight in zip((a, b, c), weights, strict=True)]
        result = library.search(terms, 30)
        total = np.asarray(weights) @ np.stack([known[id_of(path)] for path in (a, b, c)])
        total /= np.linalg.norm(total)
        expected = {its_id: float(row @ total) for its_id, row in known.items()}
        assert len(result.matches) == len(known)
        for match in result.matches:
            assert match.score == pytest.approx(expected[match.id], abs=1e-5)
        assert [m.score for m in result.matches] == sorted(scores(result).values(), reverse=True)
        assert result.query == " ".join(worded(terms))


@needs_photos
def test_adding_a_picture_draws_its_neighbours_near_and_subtracting_pushes_them_off(
    library: Library, folder: Path
) -> None:
    known = vectors(library)
    a = id_of(folder / "kind0/0.jpg")
    # The picture that is the least like the first one, and its own nearest neighbour.
    b = min(known, key=lambda one: known[one] @ known[a])
    near = max(set(known) - {a, b}, key=lambda one: known[one] @ known[b])
    plain, added, away = (
        library.search(query, 99) for query in (a, [Term(a), Term(b)], [Term(a), Term(b, AWAY)])
    )

    def rank(result: SearchResult, one: str) -> int:
        return [match.id for match in result.matches].index(one)

    for one in (b, near):
        assert scores(added)[one] > scores(plain)[one] > scores(away)[one]
        assert rank(added, one) < rank(plain, one)
        assert rank(away, one) >= rank(plain, one)
    assert scores(away)[b] < scores(plain)[b] - 0.01
    # The more it weighs the nearer it gets.
    some = [scores(library.search([Term(a), Term(b, w)], 99))[near] for w in (0.1, 0.5, 1, 4)]
    assert some == sorted(some)


@needs_photos
@pytest.mark.parametrize("weight", [5e-324, 1e-200, 1e200, 1.7976931348623157e308])
def test_only_the_proportions_of_weights_count(
    library: Library, folder: Path, weight: float
) -> None:
    a, b = (str(folder / name) for name in ("kind0/0.jpg", "kind1/0.jpg"))
    for sign in (1, -1):
        expected = library.search([Term(a), Term(b, sign)]).matches
        got = library.search([Term(a, weight), Term(b, sign * weight)]).matches
        assert got == expected
    nearly_one = library.search([Term(a, 1e308), Term(b, 5e-324)]).matches
    assert nearly_one[0].id == id_of(Path(a))
    assert nearly_one[0].score == pytest.approx(1, abs=1e-6)


@needs_photos
def test_terms_that_cancel_each_other_out_are_told(library: Library, folder: Path) -> None:
    photo = str(folder / "kind0/0.jpg")
    for terms in ([Term(photo), Term(photo, -1)], [Term(photo, 0.3)] * 2 + [Term(photo, -0.6)]):
        with pytest.raises(QueryError, match="cancels out; give other weights"):
            library.search(terms)
    with pytest.raises(QueryError, match="at least one picture"):
        library.search([])
    with pytest.raises(QueryError, match="there is no file nothing"):
        library.search([Term(photo), Term("nothing")])
    lonely = library.search(Term(photo, -1), 30)  # alone it is lawful: what is the least like it
    assert lonely.matches[-1].score == pytest.approx(-1, abs=1e-5)


@needs_photos
def test_every_filter_lets_through_what_it_says(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = folder / "kind0/0.jpg"
    every = {
        "/".join(path.parts[-2:]): path
        for path in folder.rglob("*.*")
        if path.parent.name != "copies"
    }
    sizes, dates = {}, {}
    for name, path in every.items():
        with Image.open(path) as image:
            sizes[name] = ImageOps.exif_transpose(image).size
            dates[name] = image.getexif().get_ifd(0x8769).get(0x9003, "").replace(":", "-", 2)
    again = "copies/again.jpg"

    def passing(where: Where) -> set[str]:
        names = found(library.search(query, 99, where=where))
        assert (
            names == [n for n in found(library.search(query, 99)) if n in names] or again in names
        )
        return set(names)

    def named(test: Any) -> set[str]:
        return {name for name in every if name != again and test(name)}

    assert passing(Where(paths=("*.png",))) == named(lambda n: n.endswith(".png"))
    assert passing(Where(paths=("kind1/*", "kind2/0.*"))) == named(
        lambda n: n.startswith("kind1/") or n == "kind2/0.jpg"
    )
    assert passing(Where(folders=(str(folder / "kind4"),))) == named(lambda n: n[:5] == "kind4")
    monkeypatch.chdir(folder)
    assert passing(Where(folders=("kind4",))) == named(lambda n: n[:5] == "kind4")
    assert passing(Where(paths=("./kind4/**",))) == named(lambda n: n[:5] == "kind4")
    assert passing(Where(after="2022", before="2024-05-05")) == {"kind2/2.jpg", "kind3/2.jpg"}
    assert passing(Where(after="2023")) == named(lambda n: dates[n] >= "2023")
    assert passing(Where(before="2023-05-04")) == named(lambda n: "" < dates[n] < "2023-05-04")
    for shape in ("landscape", "portrait", "square"):
        shown = passing(Where(orientation=shape))
        assert shown == named(
            lambda n, shape=shape: (
                shape == ("square", "landscape", "portrait")[np.sign(sizes[n][0] - sizes[n][1])]
            )
        )
    limit = sorted(sizes.values())[len(sizes) // 2]
    for wanted in (limit, limit[::-1]):
        high, low = max(limit), min(limit)
        assert passing(Where(larger=wanted)) == named(
            lambda n: max(sizes[n]) >= high and min(sizes[n]) >= low  # noqa: B023 - asked at once
        )
        assert passing(Where(smaller=wanted)) == named(
            lambda n: max(sizes[n]) <= high and min(sizes[n]) <= low  # noqa: B023 - asked at once
        )
    assert passing(Where(formats=("png",))) == named(lambda n: n.endswith(".png"))
    assert passing(Where(formats=("gif",))) == set()
    some = [every[name] for name in ("kind1/0.jpg", "kind5/3.jpg")]
    ids = frozenset(map(id_of, some))
    assert passing(Where(ids=ids)) == {"kind1/0.jpg", "kind5/3.jpg"}
    assert passing(Where(ids=ids, formats=("JPEG",), folders=("kind1",))) == {"kind1/0.jpg"}


@needs_photos
def test_a_pattern_that_ends_in_a_slash_is_of_all_below(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    query = folder / "kind0/0.jpg"
    below = library.search(query, 50, where=Where(folders=("kind1",)))
    assert found(below)
    for pattern in ("kind1/", f"{folder.name}/kind1/", "./kind1/", f"{folder}/kind1/"):
        assert library.search(query, 50, where=Where(paths=(pattern,))) == below
    assert Where(paths=("kind1/",)) == Where(paths=("kind1/**",))
    assert library.search(query, 50, where=Where(paths=("/",))) == library.search(query, 50)


@needs_photos
def test_a_match_shows_a_file_that_passes_and_the_query_has_to_pass_too(
    library: Library, folder: Path
) -> None:
    query = folder / "kind0/0.jpg"  # which has a copy
    assert found(library.search(query, 1)) == ["kind0/0.jpg"]
    copies = Where(folders=(str(folder / "copies"),))
    for one in (query, id_of(query)):
        assert found(library.search(one, 9, where=copies)) == ["copies/again.jpg"]
    elsewhere = library.search(query, 9, where=Where(folders=(str(folder / "kind1"),)))
    assert {name[:5] for name in found(elsewhere)} == {"kind1"}
    assert len(elsewhere.matches) == 4
    assert list(library.paths([id_of(query)], copies).values()) == [
        [str(folder / "copies/again.jpg")]
    ]


@needs_photos
def test_groups_are_sets_of_pictures(library: Library) -> None:
    grouping = library.grouping()
    members = {
        group.id: frozenset(grouping.ids[at] for at in grouping.members()[group.id])
        for group in grouping.every_group
    }
    assert members
    for group_id, expected in members.items():
        assert library.ids_of([group_id]) == expected
    noise = library.ids_of([-1])
    assert noise == {i for i, label in zip(grouping.ids, grouping.labels, strict=True) if label < 0}
    outer = [group.id for group in grouping.groups]
    assert library.ids_of([*outer, -1]) == set(grouping.ids)
    with pytest.raises(QueryError, match="no group 999"):
        library.ids_of([outer[0], 999])


@needs_photos
@pytest.mark.parametrize("size", [1, 4, 7, 24, 30])
def test_pages_put_together_are_the_whole(library: Library, folder: Path, size: int) -> None:
    a, b = str(folder / "kind1/0.jpg"), str(folder / "kind2/0.jpg")
    half = Box(0, 0, 50, 50, percent=True)
    queries: tuple[Query, ...] = (a, [Term(a), Term(b, AWAY)], Term(a, box=half))
    for query, where in itertools.product(queries, (None, Where(paths=("*.jpg",)))):
        whole = library.search(query, 99, where=where).matches
        assert [match.rank for match in whole] == list(range(1, len(whole) + 1))
        pages: list[Any] = []
        while page := library.search(query, size, where=where, offset=len(pages)).matches:
            assert len(page) == min(size, len(whole) - len(pages))
            pages += page
        # Either way of looking rounds scores in its own way.
        assert [(one.rank, one.id) for one in pages] == [(one.rank, one.id) for one in whole]
        assert [m.score for m in pages] == pytest.approx([m.score for m in whole], abs=1e-6)
        least = whole[len(whole) // 2].score
        cut = library.search(query, 99, offset=3, min_score=least, where=where, exact=True)
        best = library.search(query, 99, where=where, exact=True).matches
        assert cut.matches == tuple(match for match in best[3:] if match.score >= least)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """A library of 80 pictures, 20 of which show the same."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "photos").mkdir()
    for seed in range(60):
        (folder / "photos" / f"{seed}.png").write_bytes(png(scene(seed, 48, 36)))
    for copy in range(20):  # the same pixels in other bytes: which comes first is anybody's guess
        same = png(scene(7, 48, 36)) + bytes([copy])
        (folder / "photos" / f"copy{copy}.png").write_bytes(same)
    with Library(folder / "library", model=model_file, device="cpu") as library:
        library.add([folder / "photos"])
    return folder


@pytest.mark.parametrize("step", [5, 1000])
def test_pages_by_the_graph_do_not_overlap(
    many: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """While the first of them are compared and later ones walked."""
    monkeypatch.setattr(searching, "_FIRST_STEP", step)
    with Library(many / "library", model=model_file, device="cpu") as library:
        query = many / "photos" / "9.png"
        ways, seen = set(), list[str]()
        for offset in range(0, 81, 9):
            for other in range(16):  # until the graph is loaded
                library.search(many / "photos" / f"{other}.png", 1 + offset)  # another one
            result = library.search(query, 9, offset=offset)
            ways.add(result.way)
            assert [match.rank for match in result.matches] == [
                offset + at + 1 for at in range(len(result.matches))
            ]
            seen += [match.id for match in result.matches]
        assert ways == ({"exact", "hnsw"} if step == 5 else {"exact"})
        assert len(seen) == len(set(seen)) == 80
        with pytest.raises(SettingError, match="offset must be at least 0"):
            library.search(query, offset=-1)


@pytest.fixture
def copied(many: Path, tmp_path: Path, model_file: Path) -> Iterator[tuple[Library, Path]]:
    """The same library, whose pictures may go."""
    shutil.copytree(many / "photos", tmp_path / "photos")
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        library.add([tmp_path / "photos"])
        yield library, tmp_path / "photos"


def test_a_later_page_is_taken_from_what_was_found_before(
    copied: tuple[Library, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, photos = copied
    store = library._resources.store()
    reaches, looked_up = list[int](), list[int]()
    search, paths = store.search, store.paths

    def searched(rows: Any, k: int, **more: Any) -> Any:
        reaches.append(k)
        return search(rows, k, **more)

    def named(ids: Any, where: Any = None) -> Any:
        looked_up.append(len(ids))
        return paths(ids, where)

    monkeypatch.setattr(searching, "_FIRST_STEP", 10)
    monkeypatch.setattr(store, "search", searched)
    monkeypatch.setattr(store, "paths", named)
    whole = library.search(photos / "3.png", 80, exact=True).matches
    assert reaches == [80]
    fresh = Library(store, model=library.settings.model, device="cpu")
    reaches.clear()
    looked_up.clear()
    pages: list[Any] = []
    for offset in range(0, 81, 5):
        pages += fresh.search(photos / "3.png", 5, offset=offset, exact=True).matches
    assert [match.id for match in pages] == [match.id for match in whole]
    assert reaches == [5, 10, 40, 160]
    assert looked_up == [5] * 16 + [0]
    reaches.clear()
    again = fresh.search(photos / "3.png", 5, offset=40, exact=True)
    assert again.matches == tuple(pages[40:45])
    assert reaches == []
    assert fresh.search(photos / "3.png", 5, exact=True).matches == tuple(pages[:5])
    assert fresh.search(photos / "3.png", 5, offset=60, exact=True).matches == tuple(pages[60:65])
    assert reaches == []
    (photos / "new.png").write_bytes((photos / "3.png").read_bytes() + b"another one")
    library.add(photos)
    first = fresh.search(photos / "3.png", 5, exact=True).matches
    assert reaches == [5]  # what was found before a change does not count any more
    assert str(photos / "new.png") in [match.path for match in first[:3]]


def test_what_vanishes_between_pages_drops_out(copied: tuple[Library, Path]) -> None:
    library, photos = copied
    query = photos / "3.png"
    whole = [match.path for match in library.search(query, 80, exact=True).matches]
    gone = set(whole[2:5] + whole[20:23] + whole[40:60])
    before = [library.search(query, 10, offset=at, exact=True).matches for at in (0, 10)]
    for path in gone:
        Path(path).unlink()
    names = [match.path for page in before for match in page]
    ranks = [match.rank for page in before for match in page]
    while page := library.search(query, 10, offset=len(names), exact=True).matches:
        names += [match.path for match in page]
        ranks += [match.rank for match in page]
    assert names == [*whole[:20], *(path for path in whole[20:] if path not in gone)]
    assert ranks == list(range(1, len(names) + 1))
    left = [path for path in whole if path not in gone]
    for size in (7, 10):
        fresh = Library(library._resources.store(), model=library.settings.model, device="cpu")
        far = fresh.search(
            query, size, offset=21, exact=True
        ).matches  # what lies before is looked at, too
        assert [match.path for match in far] == left[21 : 21 + size]
        assert [m.path for m in fresh.search(query, 99, exact=True).matches] == left
        every = [
            fresh.search(query, size, offset=at, exact=True).matches for at in range(0, 60, size)
        ]
        assert [match.path for page in every for match in page] == left


def test_pages_of_what_is_no_copy(copied: tuple[Library, Path]) -> None:
    library, photos = copied
    library.duplicates()
    query = photos / "7.png"
    whole = [match.path for match in library.search(query, 99, diverse=True, exact=True).matches]
    assert len(whole) == 60
    for size in (1, 7, 50):
        fresh = Library(library._resources.store(), model=library.settings.model, device="cpu")
        far = fresh.search(query, size, offset=30, diverse=True, exact=True).matches
        assert [match.path for match in far] == whole[30 : 30 + size]
        every = [
            fresh.search(query, size, offset=at, diverse=True, exact=True).matches
            for at in range(0, 61, size)
        ]
        assert [match.path for page in every for match in page] == whole
    Path(whole[0]).unlink()  # another copy takes its place
    again = [
        match.path
        for match in library.search(photos / "copy1.png", 99, diverse=True, exact=True).matches
    ]
    assert len(again) == 60
    assert str(photos / "copy1.png") in again


# The command


@pytest.fixture
def ask(place: Path, folder: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IMGINDEX_LIBRARY", str(place))
    monkeypatch.setenv("IMGINDEX_MODEL", str(model_file))

    def run(*arguments: str, code: int = 0, send: bytes | None = None) -> Any:
        done = CliRunner().invoke(app, ["search", *arguments], input=send)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    return run


def told(result: Any) -> Any:
    return json.loads(result.stdout)


@needs_photos
def test_the_command_takes_every_form(ask: Any, library: Library, folder: Path) -> None:
    a, b, c = (f"kind{at}/0.jpg" for at in range(3))
    data = Path(b).read_bytes()
    half = Box(0, 0, 50, 50, percent=True)
    forms: list[tuple[list[str], bytes | None, Query]] = [
        ([a], None, a),
        ([a, "+", b], None, [Term(a), Term(b)]),
        ([a, b], None, [Term(a), Term(b)]),
        ([a, "-", b, "-k", "9"], None, [Term(a), Term(b, AWAY)]),
        ([f"2:{a}", "-", f"0.3:{b}", "+", c], None, [Term(a, 2), Term(b, -0.3), Term(c)]),
        (["-"], data, data),
        ([a, "-", "-"], data, [Term(a), Term(data, AWAY)]),
        ([id_of(folder / a)[:10], "+", b], None, [Term(id_of(folder / a)[:10]), Term(b)]),
        ([a, "--box", "0%,0%,50%,50%"], None, Term(a, box=half)),
        (["-", "--box", "0%,0%,50%,50%"], data, Term(data, box=half)),
    ]
    for words, send, query in forms:
        result = told(ask(*words, "--json", send=send))
        assert list(result) == ["query", "model", "way", "matches"]
        expected = library.search(query)
        assert result["query"] == expected.query
        k = 9 if "-k" in words else 20
        assert [one["path"] for one in result["matches"]] == [m.path for m in expected.matches][:k]
    Path("2:x.jpg").write_bytes(data)
    try:
        assert told(ask("2:x.jpg", "--json"))["query"] == "2:x.jpg"
    finally:
        Path("2:x.jpg").unlink()


@needs_photos
def test_the_commands_filters_are_those_of_the_library(
    ask: Any, library: Library, tmp_path: Path
) -> None:
    queries = tmp_path / "queries"
    queries.write_text("kind0/0.jpg\nkind1/0.jpg\n")
    group = library.grouping().groups[0].id
    for options, where in (
        (["--match", "*.png", "--match", "kind1/*"], Where(paths=("*.png", "kind1/*"))),
        (["--folder", "kind1", "--folder", "kind2"], Where(folders=("kind1", "kind2"))),
        (["--after", "2022-05", "--before", "2024"], Where(after="2022-05", before="2024")),
        (["--larger", "200x300"], Where(larger=(200, 300))),
        (["--smaller", "350X350"], Where(smaller=(350, 350))),
        (["--orientation", "portrait"], Where(orientation="portrait")),
        (["--format", "png", "--format", "gif"], Where(formats=("png", "gif"))),
        (["--group", str(group)], Where(ids=library.ids_of([group]))),
        (["--group", "-1", "--group", str(group)], Where(ids=library.ids_of([-1, group]))),
    ):
        for offset in (0, 2):
            expected = library.search("kind0/0.jpg", 5, where=where, offset=offset)
            shown = told(ask("kind0/0.jpg", "-k5", "--json", f"--offset={offset}", *options))
            assert shown["matches"] == [
                {"rank": m.rank, "path": m.path, "id": m.id, "score": m.score}
                for m in expected.matches
            ]
        lines = ask("--batch", str(queries), "-k5", *options).stdout
        first, second = map(json.loads, lines.splitlines())
        alone = told(ask("kind0/0.jpg", "-k5", "--json", *options))
        assert [m["path"] for m in first["matches"]] == [m["path"] for m in alone["matches"]]
        assert second["query"] == "kind1/0.jpg"


@needs_photos
def test_a_page_is_headed_by_the_names_in_the_query(ask: Any, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    for words, title in (
        (["./kind0/0.jpg"], "Like 0.jpg"),
        (["2:./kind0/0.jpg", "-", "kind1/0.jpg"], "Like 2:0.jpg - 0.jpg"),
        (["./kind0/0.jpg", "--box", "0%,0%,50%,50%"], "Like 0.jpg [0%,0%,50%,50%]"),
    ):
        ask(*words, "--html", str(page), "--force")
        assert f"<title>{title}</title>" in page.read_text("utf-8")


@needs_photos
def test_the_table_says_how_to_go_on(ask: Any) -> None:
    first = ask("kind0/0.jpg", "-k", "20")
    assert "for the next 20 add: --offset 20" in first.stderr
    assert len(first.stdout.splitlines()) == 20
    last = ask("kind0/0.jpg", "-k", "20", "--offset", "20")
    assert last.stdout.split()[0] == "21"
    assert last.stderr == ""
    none = ask("kind0/0.jpg", "--offset", "24", "--match", "*.gif")
    assert none.stdout == ""
    assert "the list ends before --offset, or no picture passes the filters" in none.stderr


@needs_photos
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["a", "b", "--box", "1,2,3,4"], 2, "--box is of one picture"),
        (["a", "--box", "1,2,3"], 2, "no box"),
        (["kind0/0.jpg", "--box", "9000,0,10,10"], 1, "lies outside the picture of"),
        (["-", "+", "-"], 2, "give - once"),
        (["a", "+"], 2, "missing"),
        (["https://example.com/a.jpg"], 2, "--allow-url"),
        (["a", "-", "HTTP://example.com/a.jpg"], 2, "--allow-url"),
        (["http://127.0.0.1:9/a.jpg", "--allow-url"], 1, "no public address"),
        (["--batch", "-", "--box", "1,2,3,4"], 2, "--batch"),
        (["--batch", "-", "--allow-url"], 2, "--batch"),
        (["a", "--batch", "-"], 2, "QUERY"),
        (["a", "--after", "May"], 2, "--after must be a date"),
        (["a", "--larger", "big"], 2, "--larger takes WIDTHxHEIGHT"),
        (["a", "--smaller", "0x5"], 2, "--smaller takes WIDTHxHEIGHT"),
        (["a", "--orientation", "tall"], 2, "--orientation"),
        (["a", "--group", "first"], 2, "--group"),
        (["a", "--group", "999"], 1, "no group 999"),
        (["a", "--offset", "-1"], 2, "--offset"),
        (["a", "--match", ""], 2, "empty"),
        (["kind0/0.jpg", "-", "1:kind0/0.jpg"], 1, "cancels out"),
    ],
)
def test_wrong_combinations_are_one_line(
    ask: Any, arguments: list[str], code: int, says: str
) -> None:
    done = ask(*arguments, code=code, send=b"")
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


class Endless(io.RawIOBase):
    """A stream of the same bytes for ever, which counts what was taken of it."""

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = self.pattern.ljust(len(buffer), b"\0")
        self.taken += len(buffer)
        return len(buffer)


def test_a_stream_is_read_no_further_than_a_picture_may_reach() -> None:
    with Library("memory:", max_megapixels=0.01) as library:
        for pattern, says, most in (
            (b"\0", "not a picture", 1 << 20),
            (jpeg(scene(1)), "more bytes than the limit of", (1 << 26) + (1 << 21)),
        ):
            stream = Endless(pattern)
            with pytest.raises(QueryError, match=f"the stream holds no picture: {says}"):
                library.receive(io.BufferedReader(stream))
            assert stream.taken <= most
        large = jpeg(scene(1)).ljust(3_000_000, b"\0")
        assert library.receive(io.BytesIO(large)) == Term(large)
        for data in (*every_format(scene(1)).values(), dng(jpeg(scene(1)))):
            assert library.receive(io.BytesIO(data)) == Term(data)


@needs_photos
@pytest.mark.parametrize("model", [[], ["--model", "nothing-like-it"]])
def test_standard_input_without_a_picture_is_told_first(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: list[str]
) -> None:
    monkeypatch.delenv("IMGINDEX_MODEL")
    monkeypatch.setenv("IMGINDEX_HOME", str(tmp_path))  # the library's model is not here
    for send, says in ((b"", "it is empty"), (b"<html>", "not a picture, or of a format")):
        done = ask("-", *model, send=send, code=1)
        assert f"standard input holds no picture: {says}" in done.stderr
    done = ask("-", *model, send=jpeg(scene(77)), code=1)
    assert "model" in done.stderr


@needs_photos
def test_a_picture_from_the_web_is_a_query(
    ask: Any, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = folder / "kind3/0.jpg"
    with serving() as (base, handler):
        monkeypatch.setattr(
            handler,
            "send_photo",
            lambda it, _: (it.head(), it.wfile.write(photo.read_bytes())),
            raising=False,
        )
        with pytest.raises(QueryError, match="no public address"):
            library.fetch(f"{base}/photo")
        monkeypatch.setattr(fetch, "fetch", partial(fetch.fetch, permitted=lambda _: True))
        shown = told(ask(f"{base}/photo", "--allow-url", "--json"))
        assert shown["query"] == f"{base}/photo"
        assert shown["matches"] == told(ask(str(photo), "--json"))["matches"]
        both = told(ask("kind0/0.jpg", "-", f"0.3:{base}/photo", "--allow-url", "--json"))
        assert both["query"] == f"kind0/0.jpg - 0.3:{base}/photo"
        expected = library.search([Term("kind0/0.jpg"), Term(str(photo), -0.3)])
        assert [one["id"] for one in both["matches"]] == [m.id for m in expected.matches]
        done = ask(f"{base}/data", "--allow-url", code=1)
        assert f"cannot read {base}/data: not a picture" in done.stderr
