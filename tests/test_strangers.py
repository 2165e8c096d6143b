"""Libraries that somebody else made, to do harm."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import sqlite3
import struct
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png, scene

from imgindex import Library, addresses
from imgindex.errors import LibraryDamagedError, LibraryFormatError, QueryError, StoreError
from imgindex.records import Box, IndexedFile, ModelPin, Picture, PictureId, Term, no_progress
from imgindex.scan import content_id
from imgindex.store import hnsw, layout
from imgindex.store.local import LocalStore
from imgindex.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgindex.records import Rows
    from imgindex.store import Store

COUNT, DIMENSION = 400, 8


def rows(count: int = COUNT) -> Rows:
    made = np.random.default_rng(3).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def fill(store: LocalStore, first: int = 0, count: int = COUNT) -> None:
    ids = [f"{number:032x}" for number in range(first, first + count)]
    store.add(
        [Picture(name, 4, 4, "PNG") for name in ids],
        rows(first + count)[first:],
        [IndexedFile(f"/nowhere/{name}.png", 1, 1, name) for name in ids],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "library"
    with closing(LocalStore(folder, create=True)) as store:
        store.pin(ModelPin("m", "f" * 64, DIMENSION, 1))
        fill(store)
        store.refresh(no_progress)
    return folder


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "library")


@pytest.mark.parametrize(
    "name",
    [
        *("library.sqlite", "library.sqlite-wal", "vectors.f32", "lock"),
        *("graph.hnsw", "graph.json", "graph.part", "graph.json.part"),
    ],
)
def test_a_library_with_a_link_for_a_file_is_refused_and_what_it_leads_to_is_left_alone(
    library: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "diary"
    before = (library / name).read_bytes() if (library / name).exists() else b"dear diary"
    victim.write_bytes(before)
    (library / name).unlink(missing_ok=True)
    (library / name).symlink_to(victim)
    for create in (False, True):
        with pytest.raises(LibraryFormatError, match="is a link or no file"):
            LocalStore(library, create=create)
    assert victim.read_bytes() == before


@pytest.mark.parametrize("name", ["library.sqlite", "vectors.f32", "graph.json", "lock"])
def test_a_pipe_for_a_file_is_not_waited_at(library: Path, name: str) -> None:
    (library / name).unlink(missing_ok=True)
    os.mkfifo(library / name)
    with pytest.raises(LibraryFormatError, match="is a link or no file"):
        LocalStore(library)


def test_a_library_may_be_linked_to_as_a_whole(library: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(library)
    with closing(LocalStore(tmp_path / "elsewhere")) as store:
        assert store.stats().pictures == COUNT


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON file BEGIN DELETE FROM picture; END", "trigger"),
        ("CREATE VIEW v AS SELECT * FROM picture", "view"),
        ("CREATE VIRTUAL TABLE t USING fts5(x)", "virtual table"),
    ],
)
def test_a_database_with_triggers_views_or_virtual_tables_is_refused(
    library: Path, statement: str, what: str
) -> None:
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(LibraryFormatError, match=f"holds a {what}, which imgindex never makes"):
        LocalStore(library)


def test_a_view_in_the_place_of_a_table_is_refused_before_it_is_asked(library: Path) -> None:
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        db.execute("ALTER TABLE picture RENAME TO kept")
        db.execute(
            "CREATE VIEW picture AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
            "SELECT i AS row, i AS id FROM n"
        )
        db.commit()
    with pytest.raises(LibraryFormatError, match="holds a view"):
        LocalStore(library)


def test_what_imgindex_makes_is_nothing_of_the_kind() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        for step in MIGRATIONS:
            db.executescript(step)
        kinds = {kind for (kind,) in db.execute("SELECT type FROM sqlite_master")}
    assert kinds == {"table", "index"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"rows": 400' + b" " * 10_000_000 + b"}",
        *(
            json.dumps({field: value}).encode()
            for field in ("rows", "dimension", "size", "mtime_ns")
            for value in (-1, 1e9, 10**30, "400", None, [400])
        ),
    ],
    ids=lambda text: f"{len(text)} bytes",
)
def test_a_sidecar_that_says_anything_costs_nothing_but_the_graph(
    library: Path, text: bytes
) -> None:
    side = library / "graph.json"
    if text.startswith(b'{"') and len(text) < 100:
        told = json.loads(side.read_bytes()) | json.loads(text)
        text = json.dumps(told).encode()
    side.write_bytes(text)
    with closing(LocalStore(library)) as store:
        hits = store.search(rows()[:1], 3)[1][0]
        assert hits[0].id == f"{0:032x}"
        with store.writing():
            fill(store, COUNT, 1)
        store.refresh(no_progress)
        assert store.verify(no_progress) == []


def forged(library: Path, forge: Callable[[bytearray], None]) -> hnsw.Graph:
    """A graph file with other numbers, and the checksum that it has then."""
    path, side = library / "graph.hnsw", library / "graph.json"
    data = bytearray(path.read_bytes())
    forge(data)
    path.write_bytes(data)
    told = json.loads(side.read_bytes())
    told |= {"size": len(data), "blake2b": hnsw._checksum(path)}
    told["mtime_ns"] = path.stat().st_mtime_ns
    side.write_text(json.dumps(told))
    return hnsw.Graph(library, DIMENSION, told["generation"])


HEAD = layout._HEAD.size
STRIDE = 4 + 8 * hnsw.M + 4 * DIMENSION + 8


def put(form: str, at: int, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(form, data, at, value)


def lists_at(data: bytearray) -> int:
    """Where the first point lies that has lists above level 0: at its size."""
    at = HEAD + COUNT * STRIDE
    while not struct.unpack_from("<I", data, at)[0]:
        at += 4
    return at


def upper(offset: int, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into("<I", data, lists_at(data) + offset, value)


def low_link(data: bytearray) -> None:
    """A list above level 0 that leads to a point which has none there."""
    at, level = HEAD + COUNT * STRIDE, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        level.append(size)
        at += 4 + size
    first = lists_at(data)
    assert struct.unpack_from("<I", data, first + 4)[0] > 0
    struct.pack_into("<I", data, first + 8, level.index(0))


@pytest.mark.parametrize(
    "forge",
    [
        put("<Q", 0, 64),  # where level 0 begins
        put("<Q", 8, 1),  # room
        put("<Q", 16, 1 << 40),  # points
        put("<Q", 16, COUNT - 1),
        put("<Q", 24, 1 << 33),  # bytes a point
        put("<Q", 32, 1 << 20),  # where its label lies
        put("<Q", 40, 1 << 20),  # where its vector lies
        put("<i", 48, 1 << 20),  # highest level
        put("<i", 48, -5),
        put("<I", 52, COUNT),  # entry point
        put("<Q", 56, 1 << 20),  # links above level 0
        put("<Q", 64, 1 << 20),  # links on it
        put("<Q", 72, 1 << 40),  # wanted
        put("<H", HEAD, 2 * hnsw.M + 1),  # links of a point
        put("<H", HEAD + 2, 1),  # deleted
        put("<I", HEAD + 4, COUNT),  # where the first one leads
        put("<I", HEAD + 5 * STRIDE + 4, 0xFFFFFFFF),
        put("<Q", HEAD + STRIDE - 8, COUNT),  # label
        put("<Q", HEAD + STRIDE - 8, 1 << 63),
        lambda data: data.__setitem__(
            slice(HEAD + STRIDE - 8, HEAD + STRIDE), data[HEAD + 2 * STRIDE - 8 : HEAD + 2 * STRIDE]
        ),
        upper(0, 1 << 30),  # bytes of the lists of a point
        upper(0, 4),
        upper(0, 0),
        upper(4, hnsw.M + 1),  # links on level 1
        upper(8, COUNT),  # where the first one leads
        low_link,
        lambda data: data.extend(bytes(4)),
        lambda data: data.__delitem__(slice(-4, None)),
        lambda data: data.__delitem__(slice(HEAD + 10, None)),
        lambda data: data.clear(),
    ],
)
def test_a_graph_that_leads_outside_is_never_loaded(
    library: Path, forge: Callable[[bytearray], None]
) -> None:
    graph = forged(library, forge)
    with pytest.raises(LibraryDamagedError, match="the next index run rebuilds it"):
        graph.load(COUNT)
    list(layout.links(library / "graph.hnsw", COUNT, hnsw.M))  # reads it without an index too
    with closing(LocalStore(library)) as store:
        for _ in range(30):  # until it would be loaded
            assert store.search(rows()[:1], 3)[1][0][0].id == f"{0:032x}"
        with store.writing():
            fill(store, COUNT, 1)
        store.refresh(no_progress)
        assert store.verify(no_progress) == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_of_forged_graphs_those_that_are_loaded_answer(made: Path, data: st.DataObject) -> None:
    """Any numbers anywhere but in the vectors: what passes may be walked."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        library = shutil.copytree(made, Path(place) / "library")
        size = (library / "graph.hnsw").stat().st_size
        tail = HEAD + COUNT * STRIDE
        words = st.one_of(
            st.integers(0, HEAD // 4 - 4).map(lambda at: 4 * at),
            st.tuples(st.integers(0, COUNT - 1), st.integers(0, 2 * hnsw.M)).map(
                lambda at: HEAD + at[0] * STRIDE + 4 * at[1]
            ),
            st.integers(tail // 4, size // 4 - 1).map(lambda at: tail + 4 * (at - tail // 4)),
        )
        values = st.one_of(st.integers(0, COUNT), st.integers(0, 2**32 - 1))
        changes = data.draw(st.lists(st.tuples(words, values), min_size=1, max_size=3))

        def forge(content: bytearray) -> None:
            for at, value in changes:
                struct.pack_into("<I", content, at, value)

        graph = forged(library, forge)
        try:
            graph.load(COUNT)
        except LibraryDamagedError:
            return
        found = graph.search(rows()[:50], 5, rows())
        assert found is None or (found[0] < COUNT).all()


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("UPDATE setting SET value = '\"x\"' WHERE key = 'rows'", LocalStore.stats),
        ("UPDATE setting SET value = '-4' WHERE key = 'rows'", LocalStore.stats),
        ("UPDATE setting SET value = '1e9' WHERE key = 'rows'", LocalStore.stats),
        (
            "UPDATE setting SET value = json_set(value, '$.dimension', -8) WHERE key = 'model'",
            LocalStore.pinned,
        ),
        (
            "UPDATE setting SET value = json_set(value, '$.name', 7) WHERE key = 'model'",
            LocalStore.pinned,
        ),
        (
            "PRAGMA foreign_keys = OFF; UPDATE picture SET row = row + 1000000000000",
            lambda store: store.vector(f"{0:032x}"),
        ),
        (
            "PRAGMA foreign_keys = OFF; UPDATE picture SET row = row + 1000000000000",
            lambda store: store.block("", 10),
        ),
        (
            (
                "INSERT INTO grouping VALUES (1, 'x', '{}', 0);"
                "INSERT INTO member VALUES (1, 'x', 1 << 40, 0, 0, 0, 0, x'', NULL)"
            ),
            LocalStore.grouping,
        ),
        (
            (
                "INSERT INTO decision VALUES (1, 'apart', 1, NULL, "
                "replace(hex(zeroblob(50000)), '00', '['))"
            ),
            LocalStore.decisions,
        ),
        (
            "UPDATE picture SET width = 'wide'",
            lambda store: store.pictures([f"{0:032x}"]),
        ),
        (
            "UPDATE picture SET checksum = 'none' WHERE row = 3",
            lambda store: store.repair(lambda _: {}, no_progress),
        ),
    ],
)
def test_absurd_numbers_in_a_database_are_damage(
    library: Path, statement: str, use: Callable[[LocalStore], object]
) -> None:
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        db.executescript(statement)
        db.commit()
    with closing(LocalStore(library)) as store, pytest.raises(LibraryDamagedError):
        use(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE picture SET width = 'wide' WHERE row < 2",
        "UPDATE picture SET taken = x'00' WHERE row < 2",
        "UPDATE file SET size = x'00' WHERE path IN (SELECT path FROM file LIMIT 2)",
        'CREATE TABLE "a""b" ("c"" d" TEXT); INSERT INTO "a""b" VALUES (x\'00\'), (x\'01\')',
    ],
)
def test_what_is_of_another_kind_than_its_column_is_named(library: Path, statement: str) -> None:
    with closing(LocalStore(library)) as store:
        assert store.verify(no_progress) == []
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        db.executescript(statement)
        db.commit()
    with closing(LocalStore(library)) as store:
        line, *changed = store.verify(no_progress)
        assert "2 rows of " in line
        assert changed
        assert all(one.endswith(" does not hold what was written") for one in changed)


def test_a_setting_that_is_nested_without_end_is_damage(library: Path) -> None:
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        db.execute("UPDATE setting SET value = ? WHERE key = 'model'", ("[" * 200_000,))
        db.commit()
    with (
        pytest.raises(LibraryDamagedError, match="not JSON"),
        closing(LocalStore(library)) as store,
    ):
        store.pinned()


# Addresses


@pytest.fixture
def asked() -> Iterator[tuple[str, list[object]]]:
    """A server, and who asked it; it hangs up."""
    calls: list[object] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            calls.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"ftp://127.0.0.1:{server.server_address[1]}", calls
        server.shutdown()
        thread.join()


def one_picture(place: Path, model: Path) -> str:
    """Make a library of one picture, ``mine/a.png`` beside it; its id."""
    mine = place.with_name("mine")
    mine.mkdir()
    (mine / "a.png").write_bytes(png(scene(0, 40, 30)))
    with Library(place, model=model, device="cpu") as library:
        library.add([mine])
    return content_id((mine / "a.png").read_bytes())


def also_at(store: Store, path: str, name: str) -> None:
    """Have a library say that a picture of it lies at another place, too."""
    store.add([], np.empty((0, 256), np.float32), [IndexedFile(path, 1, 1, name)])


def test_a_server_that_only_the_library_names_is_not_asked(
    tmp_path: Path,
    model_file: Path,
    asked: tuple[str, list[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("fsspec")
    host, calls = asked
    place = tmp_path / "library"
    name = one_picture(place, model_file)
    (tmp_path / "mine/a.png").rename(tmp_path / "b.png")
    with closing(LocalStore(place)) as store:
        also_at(store, f"{host}/a.png", name)
    uses: list[Callable[[Library], object]] = [
        lambda library: library.original(name),
        lambda library: library.thumbnail(f"{host}/a.png"),
        lambda library: library.search(Term(PictureId(name), box=Box(0, 0, 9, 9))),
        lambda library: library.features(PictureId(name), layer="block1_conv1"),
        lambda library: library.add([tmp_path / "b.png"]),
        lambda library: library.duplicates(),
        lambda library: library.repair(),
    ]
    for use in uses:
        with Library(place, model=model_file, device="cpu") as library:
            try:
                use(library)
            except QueryError as error:
                assert f"{host}, which the library names" in str(error)  # noqa: PT017
    assert calls == []
    (tmp_path / "b.png").unlink()
    monkeypatch.setenv("IMGINDEX_HOSTS", f"https://other {host}")
    with Library(place) as library, pytest.raises(QueryError, match="cannot be read: vanished"):
        library.original(name)
    assert calls


@pytest.mark.parametrize("may", [False, True])
def test_a_file_on_a_server_is_not_the_copy_that_stays_unless_it_is_there(
    tmp_path: Path,
    model_file: Path,
    asked: tuple[str, list[object]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    may: bool,
) -> None:
    pytest.importorskip("fsspec")
    host, calls = asked
    if may:
        monkeypatch.setenv("IMGINDEX_HOSTS", host)
    name = one_picture(tmp_path / "library", model_file)
    with Library(tmp_path / "library", model=model_file, device="cpu") as library:
        also_at(library._resources.store(), f"{host}/a.png", name)
        told = library.duplicates()
    assert told.sets == ()
    (away,) = told.skipped
    assert away.path == f"{host}/a.png"
    assert ("was not asked" in away.reason, bool(calls)) == (not may, may)


def test_what_lies_on_a_server_that_is_not_asked_is_not_lost(
    tmp_path: Path, model_file: Path, asked: tuple[str, list[object]]
) -> None:
    pytest.importorskip("fsspec")
    host, calls = asked
    place = tmp_path / "library"
    name = one_picture(place, model_file)
    with closing(LocalStore(place)) as store:
        store.mark_missing([str(tmp_path / "mine/a.png")])
        also_at(store, f"{host}/a.png", name)
    with (place / "vectors.f32").open("r+b") as rows:
        rows.write(b"damaged!")
    with Library(place, model=model_file, device="cpu") as library:
        with pytest.raises(StoreError, match="add it to IMGINDEX_HOSTS; then repair again"):
            library.repair()
        assert library.status().pictures == 1
    assert calls == []


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("/photos/http://a.jpg", []),
        ("s3://bucket/a.jpg", []),
        ("http://nas/a.jpg", ["http://nas"]),
        ("HTTP://NAS:8080/a.jpg", ["http://nas:8080"]),
        ("https://me:word@nas/a.jpg", ["https://nas"]),
        ("zip://a.jpg::https://nas/all.zip", ["https://nas"]),
        ("http://one@two@three/a", ["a server of no plain name"]),
        ("http://one\\@two/a", ["a server of no plain name"]),
        ("http://one?@two/a", ["http://one"]),
        ("http:///a", ["a server of no plain name"]),
    ],
)
def test_who_an_address_asks_is_read_as_strictly_as_can_be(address: str, hosts: list[str]) -> None:
    assert addresses.hosts(address) == hosts
