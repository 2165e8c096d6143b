"""Processes that answer searches beside the service: the same answers, whatever befalls them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pictures import png, scene
from served import Inside, inside, served

from imgindex import Library
from imgindex.errors import SettingError
from imgindex.web import ServiceSettings, readers

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = 60


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    work = tmp_path_factory.mktemp("readers")
    (work / "pictures").mkdir()
    for seed in range(PICTURES):
        (work / "pictures" / f"{seed:02}.png").write_bytes(png(scene(seed % 9 + seed, 48, 40)))
    with Library(work / "library", model=model_file, device="cpu") as library:
        library.add([work / "pictures"])
        library.warm()
    return work / "library"


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(filled, tmp_path / "library"))


@contextmanager
def read(
    library: Path, model: Path, count: int = 2, log: io.StringIO | None = None
) -> Iterator[Inside]:
    uploads = library.with_name("uploads")
    with (
        Library(library, model=model, device="cpu") as opened,
        inside(opened, log, readers=count, uploads=uploads) as made,
    ):
        yield made


def similar(service: Inside, picture: str, query: str = "") -> str:
    answer = service.client.get(f"/v1/pictures/{picture}/similar{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


def told(service: Inside, picture: str, query: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(similar(service, picture, query))
    return answer


def ids_of(service: Inside) -> list[str]:
    listed = service.client.get("/v1/pictures?limit=1000").json()
    return [one["id"] for one in listed["pictures"]]


def sent(service: Inside, data: bytes) -> str:
    """Add a picture; its id."""
    answer = service.client.post("/v1/pictures", files={"files": ("new.png", data, "image/png")})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["pictures"][0]["id"])


def processes(service: Inside) -> list[int]:
    return [one._process.pid for one in service.service._readers if one._process is not None]


def answered(service: Inside) -> int:
    """Searches that the processes were asked."""
    told = service.client.get("/metrics").text
    found = re.search(r'imgindex_batch_size_sum\{work="read"\} (\S+)', told)
    assert found is not None
    return round(float(found[1]))


def test_they_say_what_the_service_says(filled: Path, model_file: Path) -> None:
    queries = ("", "?k=3", "?k=7&min_score=0.9", "?k=5&offset=5", "?k=1000", "?k=4&exact=true")
    with read(filled, model_file, 0) as without:
        ids = ids_of(without)
        wanted = {(one, query): told(without, one, query) for one in ids for query in queries}
    with read(filled, model_file) as service, ThreadPoolExecutor(8) as threads:
        asked = list(wanted)
        for one, got in zip(
            asked, threads.map(lambda one: told(service, *one), asked), strict=True
        ):
            assert got["matches"] == [
                match | {"score": pytest.approx(match["score"], abs=1e-6)}
                for match in wanted[one]["matches"]
            ]
            # A page may come from a longer list that was found in another way.
            either = {"matches": [], "way": ""}
            assert got | either == wanted[one] | either
        assert answered(service) >= 4 * len(ids)
        assert len(processes(service)) == 2
        missing = service.client.get(f"/v1/pictures/{'0' * 32}/similar")
        assert missing.status_code == 404
        assert missing.json()["type"] == "urn:imgindex:no-such-picture"


def test_pages_go_on_from_each_other(filled: Path, model_file: Path) -> None:
    with read(filled, model_file) as service:
        for one in ids_of(service)[:20]:
            pages = [
                match["id"]
                for offset in range(0, PICTURES, 8)
                for match in service.client.get(
                    f"/v1/pictures/{one}/similar?k=8&offset={offset}"
                ).json()["matches"]
            ]
            assert len(pages) == len(set(pages)) == PICTURES


def test_many_first_pages_are_forgotten(
    filled: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgindex.web.service._FIRST_PAGES", 5)
    with read(filled, model_file) as service:
        for one in ids_of(service):
            similar(service, one)
        assert len(service.service._first_pages) == 5


def test_they_see_what_is_added_and_removed(own: Path, model_file: Path) -> None:
    with read(own, model_file) as service:
        new = png(scene(777, 60, 50))
        added = sent(service, new)
        assert f'"id":"{added}","score":1.0' in similar(service, added, "?k=1")
        assert service.client.delete(f"/v1/pictures/{added}").status_code in {200, 204}
        assert service.client.get(f"/v1/pictures/{added}/similar").status_code == 404


def test_one_that_dies_is_not_missed_and_comes_back(
    own: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    with read(own, model_file, log=log) as service:
        ids = ids_of(service)
        before = [similar(service, one) for one in ids]
        first, second = processes(service)
        os.kill(first, signal.SIGTERM)
        assert [similar(service, one) for one in ids] == before
        assert processes(service) == [second]  # not at once: it may end again
        assert '"reason": "exit code -15"' in log.getvalue()
        monkeypatch.setattr(readers, "_AGAIN", 0.0)
        assert [similar(service, one) for one in ids] == before
        assert len(processes(service)) == 2
        assert first not in processes(service)


def test_a_library_that_comes_later_is_read(tmp_path: Path, model_file: Path) -> None:
    with read(tmp_path / "library", model_file, 1) as service:
        assert service.client.get(f"/v1/pictures/{'0' * 32}/similar").status_code == 404
        added = sent(service, png(scene(1)))
        assert added in similar(service, added)
        assert processes(service)


def test_nothing_in_the_working_directory_is_run(
    filled: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("imgindex", "struct", "pickle", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from here')")
    monkeypatch.chdir(tmp_path)
    with read(filled, model_file, 1) as service:
        similar(service, ids_of(service)[0])
        assert processes(service)


def test_they_end_with_the_service(filled: Path, model_file: Path) -> None:
    with read(filled, model_file) as service:
        similar(service, ids_of(service)[0])
        begun = [one._process for one in service.service._readers]
    assert all(one is not None and one.returncode is not None for one in begun)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux")  # noqa: PTH112
def test_they_end_with_a_service_that_is_killed(
    filled: Path, model_file: Path, tmp_path: Path
) -> None:
    options = ("--model", str(model_file), "--device", "cpu", "--quiet", "--readers", "2")
    with served(filled, tmp_path / "log", *options) as running:
        process = running.process.pid
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        children = [int(one) for task in tasks for one in task.read_text("ascii").split()]
        assert len(children) == 2
        running.process.kill()
        running.process.wait()
        end = time.monotonic() + 20
        while any(_runs(child) for child in children) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(_runs, children))


def _runs(process: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("count", [-1, 65])
def test_counts_that_are_none_are_refused(count: int) -> None:
    with pytest.raises(SettingError, match=f"readers must be 0 to 64, not {count}"):
        ServiceSettings(readers=count)
