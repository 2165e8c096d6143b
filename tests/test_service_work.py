"""The service at work: jobs, events, batches, many clients, several processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import png, scene
from PIL import Image
from served import inside
from served_library import Made, changing, encoded, follow, problem, variant

from imgindex import Library
from imgindex.scan import content_id
from imgindex.web.batching import Batcher, Pool, Threads
from imgindex.web.events import Broadcast, Event
from imgindex.web.jobs import Jobs
from imgindex.web.problems import Problem
from imgindex.web.uploads import Upload, Uploads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import httpx

    from imgindex.records import Progress

pytest_plugins = ["served_library"]


# Jobs and events.


def test_an_index_job_does_what_the_command_does(own: Made, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for seed in range(3):
        (more / f"{seed}.png").write_bytes(encoded(0, 60 + seed))
    (more / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with changing(own) as opened:
        client = opened.client
        asked = {"kind": "index", "paths": [str(more)]}
        job = follow(client, client.post("/v1/jobs", json=asked))
        assert job["state"] == "done", job
        assert job["settings"]["paths"] == [str(more)]
        report = job["result"]
        assert report["added"] == 3
        assert [one["path"] for one in report["skipped"]] == [str(more / "broken.png")]
        assert job["created"] <= job["started"] <= job["ended"]
        assert client.get("/v1/jobs").json()[0] == job
        again = follow(client, client.post("/v1/jobs", json=asked))
        assert again["result"]["added"] == 0
        assert [one["id"] for one in client.get("/v1/jobs").json()] == [again["id"], job["id"]]
        missing = {"kind": "index", "paths": [str(tmp_path / "nowhere")]}
        failed = follow(client, client.post("/v1/jobs", json=missing))
        assert failed["state"] == "failed"
        assert failed["problem"]["status"] == 422
        assert "nowhere" in failed["problem"]["detail"]
        some = [one["id"] for one in client.get("/v1/pictures?limit=2").json()["pictures"]]
        assert client.post("/v1/groups", json={"pictures": some}).status_code == 201
        grouped = follow(
            client, client.post("/v1/jobs", json={"kind": "cluster", "min_cluster_size": 4})
        )
        assert grouped["state"] == "done", grouped
        assert grouped["result"]["groups"] == len(client.get("/v1/groups").json()["groups"])
        assert grouped["result"]["pictures"] == client.get("/v1/status").json()["pictures"]
        for body in (
            {"kind": "index"},
            {"kind": "index", "paths": []},
            {"kind": "cluster", "min_cluster_size": 1},
            {"kind": "dance"},
            {"kind": "map", "x": 1},
            {"kind": "index", "paths": ["a\0b"]},
        ):
            problem(client.post("/v1/jobs", json=body), 422)


def test_jobs_wait_their_turn_and_can_be_stopped() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(progress: Progress) -> list[str]:
        begun.set()
        go_on.wait(20)
        progress("walk", 1, 2)
        return ["done"]

    async def run() -> None:
        jobs = Jobs(broadcast := Broadcast())
        heard: list[str] = []
        with broadcast.listening() as events:
            first = jobs.begin("index", work, {})
            second = jobs.begin("cluster", lambda _: {"x": 1}, {})
            third = jobs.begin("map", work, {})
            await asyncio.to_thread(begun.wait, 20)
            assert [job.id for job in jobs] == [third.id, second.id, first.id]
            await asyncio.sleep(0.01)
            assert jobs.running is not None
            assert jobs.running.id == first.id
            assert jobs.cancel(third.id).state == "cancelled"
            assert jobs.cancel(third.id).state == "cancelled"
            jobs.cancel(first.id)
            go_on.set()
            async for event in events:
                assert event is not None
                heard.append(f"{event.record.kind} {event.record.state}")
                if heard[-1] == "cluster done":
                    break
        assert jobs.get(first.id).state == "cancelled"
        assert jobs.get(second.id).result == {"x": 1}
        assert heard == [
            *("index queued", "cluster queued", "map queued", "index running", "map cancelled"),
            *("index cancelled", "cluster running", "cluster done"),
        ]
        await jobs.close()

    asyncio.run(run())


def test_no_more_jobs_wait_than_there_is_room_for_even_if_they_are_stopped() -> None:
    halt = threading.Event()

    async def run() -> None:
        jobs = Jobs(Broadcast())
        jobs.begin("map", lambda _: halt.wait(20), {})
        begun = 0
        with pytest.raises(Problem) as raised:  # noqa: PT012 - it is the last of many
            for _ in range(1000):
                jobs.cancel(jobs.begin("map", lambda _: None, {}).id)
                begun += 1
        assert raised.value.body.status == 503
        assert 8 <= begun <= 32
        halt.set()
        await jobs.close()
        assert all(job.over for job in jobs)

    asyncio.run(run())


async def over(jobs: Jobs, job_id: str) -> None:
    while not jobs.get(job_id).over:  # noqa: ASYNC110 - nobody else tells
        await asyncio.sleep(0.001)


def test_ended_jobs_are_forgotten_at_last_and_bugs_do_not_spread() -> None:
    async def run() -> None:
        jobs = Jobs(Broadcast())
        broken = jobs.begin("map", lambda _: 1 // 0, {})
        await over(jobs, broken.id)
        ended = jobs.get(broken.id)
        assert (ended.state, ended.problem.status if ended.problem else 0) == ("failed", 500)
        for _ in range(150):
            job = jobs.begin("map", lambda _: None, {})
            await over(jobs, job.id)
        assert 100 <= len(list(jobs)) <= 102
        with pytest.raises(Problem):
            jobs.get(broken.id)
        await jobs.close()

    asyncio.run(run())


def heard(
    client: httpx.Client, address: str, until: str, listening: threading.Event | None = None
) -> list[tuple[str, Any]]:
    """Events up to one whose data holds some text; who waits for the first one is told of it."""
    events: list[tuple[str, Any]] = []
    with client.stream("GET", address) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
                if listening is not None:
                    listening.set()
                if until and until in line:
                    break
    return events


def test_events_tell_of_jobs_and_changes(own: Made, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for seed in range(40):
        (tmp_path / "more" / f"{seed}.png").write_bytes(encoded(1, 200 + seed))
    with changing(own) as opened, ThreadPoolExecutor(2) as threads:
        client = opened.client
        listening = threading.Event()
        everything = threads.submit(heard, client, "/v1/events", '"state":"done"', listening)
        assert listening.wait(20)
        begun = client.post("/v1/jobs", json={"kind": "index", "paths": [str(tmp_path / "more")]})
        events = heard(client, f"/v1/jobs/{begun.json()['id']}/events", "")  # until it ends
        assert {name for name, _ in events} == {"job"}
        assert events[-1][1] == client.get(f"/v1/jobs/{begun.json()['id']}").json()
        assert events[-1][1]["state"] == "done"
        news = everything.result(20)
        assert news[0][0] == "library"
        states = [data["state"] for name, data in news if name == "job"]
        assert states[0] == "queued"
        assert states[-1] == "done"
        after = heard(client, f"/v1/jobs/{begun.json()['id']}/events", "")
        assert after == [("job", events[-1][1])]


def test_news_reach_who_listens_and_who_lags_loses_the_oldest() -> None:
    async def run() -> None:
        broadcast = Broadcast(most=2)
        with broadcast.listening() as events, broadcast.listening():
            assert broadcast.full
            for at in range(100):
                broadcast.tell(Event("job", at))
            broadcast.close()
            got = [event.record async for event in events if event is not None]
        assert got == list(range(37, 100))
        assert not broadcast.full
        with broadcast.listening() as late:  # who comes after the end is sent home, too
            assert [event async for event in late] == []

    asyncio.run(run())


# Many at once.


def test_whoever_asks_gets_the_answer_to_his_own_question(made: Made) -> None:
    names = [name for name in made.ids if "copy" not in name] * 3
    with made.open() as library, inside(library) as opened, ThreadPoolExecutor(24) as threads:
        client = opened.client

        def similar(name: str) -> str:
            answer = client.get(f"/v1/pictures/{made.id(name)}/similar", params={"k": 1})
            return str(answer.json()["matches"][0]["id"])

        def sent(name: str) -> str:
            seed = int(content_id(name.encode())[:6], 16)
            picture = png(Image.blend(variant(int(name[4]), 1), scene(seed, 160, 120), 0.02))
            answer = client.post(
                "/v1/search/upload",
                params={"k": 25},
                content=picture,
                headers={"Content-Type": "image/png"},
            )
            assert answer.status_code == 200, answer.text
            kinds = [one["path"].split("/")[-2][4] for one in answer.json()["matches"]]
            return str(kinds[0])

        assert list(threads.map(similar, names)) == [made.id(name) for name in names]
        assert list(threads.map(sent, names)) == [name[4] for name in names]
        text = client.get("/metrics").text
        sizes = {
            line.split('work="')[1].split('"')[0]: float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("imgindex_batch_size_sum")
        }
        counts = {
            line.split('work="')[1].split('"')[0]: float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("imgindex_batch_size_count")
        }
        assert counts["search"] < sizes["search"]  # several at once
        assert len(set(names)) <= sizes["embed"] <= len(names)  # the same is embedded once
        assert opened.service.in_flight == 0


def test_batches_form_while_one_is_worked_on_and_keep_their_order() -> None:
    batches: list[list[int]] = []
    go_on = threading.Event()

    def work(asked: Sequence[int]) -> list[int | Exception]:
        batches.append(list(asked))
        go_on.wait(20)
        return [ValueError(str(one)) if one % 10 == 7 else one * 2 for one in asked]

    async def run() -> None:
        lane: Batcher[int, int] = Batcher(Threads("test", work), most=8, room=1000)
        asking = [asyncio.create_task(lane.ask(one)) for one in range(100)]
        await asyncio.sleep(0.05)
        assert lane.waiting == 92  # the first batch is what was there when the thread was free
        gone = asking[50]
        gone.cancel()
        go_on.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for one, answer in enumerate(answers):
            if one == 50:
                assert isinstance(answer, asyncio.CancelledError)
            elif one % 10 == 7:
                assert isinstance(answer, ValueError)
                assert str(answer) == str(one)
            else:
                assert answer == one * 2
        done = [one for batch in batches for one in batch]
        assert done == [one for one in range(100) if one != 50]  # first come, first served
        assert max(map(len, batches)) == 8
        await lane.close()

    asyncio.run(run())


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 20), st.lists(st.integers(1, 12), max_size=12))
def test_the_queue_never_grows_beyond_its_room(most: int, room: int, waves: list[int]) -> None:
    longest = 0

    async def run() -> None:
        nonlocal longest
        lane: Batcher[int, int] = Batcher(Threads("test", list), most=most, room=room)
        asking: list[asyncio.Task[int]] = []
        for wave in waves:
            for one in range(wave):
                asking.append(asyncio.create_task(lane.ask(one)))
                await asyncio.sleep(0)
                longest = max(longest, lane.waiting)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, Problem)]
        assert all(
            one.body.status == 503 and one.response().headers["retry-after"] for one in refused
        )
        assert len(refused) <= max(0, sum(waves) - room)
        assert all(isinstance(one, int | Problem) for one in answers)
        assert lane.waiting == 0
        await lane.close()

    asyncio.run(run())
    assert longest <= room


def test_a_work_that_breaks_breaks_its_batch_and_no_other() -> None:
    def work(asked: Sequence[int]) -> list[int]:
        if 3 in asked:
            raise OSError("broken")
        return list(asked)

    async def run() -> None:
        lane: Batcher[int, int] = Batcher(Threads("test", work), most=1, room=100)
        answers = await asyncio.gather(*map(lane.ask, range(6)), return_exceptions=True)
        assert [isinstance(one, OSError) for one in answers] == [at == 3 for at in range(6)]
        await lane.close()

    asyncio.run(run())


def test_threads_have_a_bounded_queue() -> None:
    halt = threading.Event()

    async def run() -> None:
        pool = Pool("test", 2, 3)
        inside = [asyncio.create_task(pool.run(halt.wait, 20)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as raised:
            await pool.run(list)
        assert raised.value.body.status == 503
        inside[-1].cancel()  # it has not begun, so its place is free again
        await asyncio.sleep(0)
        inside[-1] = asyncio.create_task(pool.run(halt.wait, 20))
        await asyncio.sleep(0)
        halt.set()
        await asyncio.gather(*inside)
        assert pool.inside == 0
        pool.close()

    asyncio.run(run())


def test_a_full_service_says_so_and_recovers(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()
    plain = Library.search_many

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        go_on.wait(20)
        return plain(*args, **kwargs)

    monkeypatch.setattr("imgindex.web.service._SEARCHING", 1)
    with (
        made.open() as library,
        inside(library, room=4) as opened,
        ThreadPoolExecutor(16) as threads,
    ):
        monkeypatch.setattr(Library, "search_many", slow)
        address = f"/v1/pictures/{made.id('kind0/0.jpg')}/similar"
        first = threads.submit(opened.client.get, address)
        assert begun.wait(20)
        others = [threads.submit(opened.client.get, address) for _ in range(12)]
        for _ in range(200):
            if sum(one.done() for one in others) == 8:
                break
            time.sleep(0.02)
        refused = [one.result() for one in others if one.done()]
        assert len(refused) == 8
        for answer in refused:
            assert problem(answer, 503)["type"] == "urn:imgindex:too-busy"
            assert int(answer.headers["retry-after"]) >= 1
        assert opened.client.get("/healthz").status_code == 200
        assert opened.client.get("/v1/status").status_code == 200  # other work goes on
        go_on.set()
        answered = [one.result() for one in (first, *others) if one.result() not in refused]
        assert [one.status_code for one in answered] == [200] * 5
        assert opened.client.get(address).status_code == 200


def test_deep_searches_do_not_hold_up_light_ones(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    plain = Library.search_many

    def slow(*args: Any, **kwargs: Any) -> Any:
        if kwargs["exact"]:
            go_on.wait(20)
        return plain(*args, **kwargs)

    monkeypatch.setattr(Library, "search_many", slow)
    with made.open() as library, inside(library) as opened, ThreadPoolExecutor(4) as threads:
        address = f"/v1/pictures/{made.id('kind0/0.jpg')}/similar"
        deep = [threads.submit(opened.client.get, f"{address}?exact=true") for _ in range(3)]
        time.sleep(0.1)
        assert opened.client.get(address).status_code == 200
        assert not any(one.done() for one in deep)
        go_on.set()
        assert all(one.result().json()["way"] == "exact" for one in deep)


def test_uploads_hold_no_more_than_their_bound(made: Made) -> None:
    with made.open() as library:
        facts = library.inspect(made.data("kind0/0.jpg"))
    kept = Uploads(most=1000)
    for at in range(50):
        one = Upload(replace(facts, id=f"{at:032x}"), b"x" * 300)
        kept.keep(one)
        kept.keep(one)  # again: it counts once
    for at in range(50):
        if at >= 47:
            assert kept.get(f"{at:032x}").data == b"x" * 300
        else:
            with pytest.raises(Problem):
                kept.get(f"{at:032x}")


@pytest.mark.parametrize("kept", [False, True])
def test_a_sent_picture_that_leaves_the_library_meanwhile_is_embedded(
    own: Made, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    name = own.id("kind0/0.jpg")
    plain = Library.see

    def see(self: Library, picture: Any) -> Any:
        seen = plain(self, picture)
        if self.paths([name]):  # it was recognised; somebody removes it now
            self.remove([name])
        return seen

    monkeypatch.setattr(Library, "see", see)
    data = own.data("kind0/0.jpg")
    with changing(own) as opened:
        client = opened.client
        if kept:
            upload = client.post("/v1/uploads", content=data).json()["id"]
            answer = client.post("/v1/search", json={"terms": [{"upload": upload}]})
        else:
            answer = client.post("/v1/search/upload", content=data)
        assert answer.status_code == 200, answer.text
        matches = answer.json()["matches"]
        assert matches
        assert name not in {one["id"] for one in matches}


def test_a_sent_picture_whose_file_is_missing_is_asked_with_all_the_same(own: Made) -> None:
    name, path = own.id("kind0/0.jpg"), str(own.folder / "kind0/0.jpg")
    with changing(own) as opened:
        opened.service.library._resources.store().mark_missing([path])
        answer = opened.client.post("/v1/search/upload", content=own.data("kind0/0.jpg"))
        assert answer.status_code == 200, answer.text
        assert name not in {one["id"] for one in answer.json()["matches"]}
        problem(opened.client.get(f"/v1/pictures/{name}/similar"), 404)


def test_a_picture_that_comes_back_while_one_asks_is_no_wrong_query(
    own: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = own.id("kind0/0.jpg"), str(own.folder / "kind0/0.jpg")
    plain = Library.paths

    def paths(self: Library, ids: Any, *more: Any) -> Any:
        if not plain(self, ids, *more):
            self.add([path])
        return plain(self, ids, *more)

    with changing(own) as opened:
        opened.service.library._resources.store().mark_missing([path])
        monkeypatch.setattr(Library, "paths", paths)
        answer = opened.client.get(f"/v1/pictures/{name}/similar")
        assert answer.status_code == 200, answer.text
        assert answer.json()["matches"][0]["id"] == name


def test_many_add_the_same_pictures_at_once(own: Made) -> None:
    new = [encoded(0, 300 + seed) for seed in range(6)]

    with changing(own) as opened, ThreadPoolExecutor(8) as threads:

        def send(at: int) -> list[dict[str, Any]]:
            files = [("files", (f"{at}.jpg", data, "image/jpeg")) for data in new]
            answer = opened.client.post("/v1/pictures", files=files)
            assert answer.status_code == 201, answer.text
            told: list[dict[str, Any]] = answer.json()["pictures"]
            return told

        answers = list(threads.map(send, range(8)))
        for told in answers:
            assert [one["id"] for one in told] == [content_id(data) for data in new]
            assert all(one["reason"] is None for one in told)
        for at in range(len(new)):  # one of them brought it
            assert sum(not told[at]["known"] for told in answers) == 1
    with own.open() as library:
        assert library.verify() == []
        assert library.paths([content_id(data) for data in new]).keys() == {
            content_id(data) for data in new
        }


def test_a_failed_add_takes_away_its_own_file_and_no_other(
    own: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Library.add
    broken = True

    def add(self: Library, *args: Any, **kwargs: Any) -> Any:
        if broken:
            raise OSError("the disk is on fire")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Library, "add", add)
    sent = {"files": ("x.jpg", encoded(0, 400), "image/jpeg")}
    with changing(own) as opened:
        problem(opened.client.post("/v1/pictures", files=sent), 500)
        assert not list(own.library.with_name("uploads").rglob("*.jpg"))
        broken = False
        assert opened.client.post("/v1/pictures", files=sent).status_code == 201
        broken = True
        assert opened.client.post("/v1/pictures", files=sent).json()["pictures"][0]["known"]
        assert len(list(own.library.with_name("uploads").rglob("*.jpg"))) == 1


# Several processes.


_HOLD = """import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_another_writer_is_waited_for_in_words_and_reading_goes_on(own: Made) -> None:
    sent = {"files": ("x.jpg", encoded(0, 500), "image/jpeg")}
    with changing(own) as opened:
        lock = next(own.library.glob("*lock*"))
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _HOLD,
                str(lock),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == b"held"
            body = problem(opened.client.post("/v1/pictures", files=sent), 409)
            assert body["type"] == "urn:imgindex:library-busy"
            assert "another process" in body["detail"]
            gone = opened.client.delete(f"/v1/pictures/{own.id('kind0/0.jpg')}")
            assert problem(gone, 409)["type"] == "urn:imgindex:library-busy"
            assert gone.headers["retry-after"]
            asked = {"kind": "index", "paths": [str(own.folder)]}
            job = follow(opened.client, opened.client.post("/v1/jobs", json=asked))
            assert job["state"] == "failed"
            assert job["problem"]["status"] == 409
            address = f"/v1/pictures/{own.id('kind0/0.jpg')}"
            for rest in ("", "/similar", "/thumbnail/small"):
                assert opened.client.get(f"{address}{rest}").status_code == 200
        finally:
            holder.communicate()
        assert not list(own.library.with_name("uploads").rglob("*.jpg"))
        assert opened.client.post("/v1/pictures", files=sent).status_code == 201


def test_what_another_process_adds_is_seen_within_a_second(own: Made, tmp_path: Path) -> None:
    new = tmp_path / "new.png"
    new.write_bytes(encoded(2, 600))
    with changing(own) as opened, ThreadPoolExecutor(1) as threads:
        client = opened.client
        total = client.get("/v1/pictures").json()["total"]
        change = client.get("/v1/status").json()["change"]
        listening = threading.Event()
        news = threads.submit(heard, client, "/v1/events", "until it is cut off", listening)
        assert listening.wait(20)
        code = "import sys; from imgindex import Library\n"
        code += "with Library(sys.argv[1], model=sys.argv[2], device='cpu') as library:\n"
        code += "    library.add([sys.argv[3]])"
        subprocess.run(
            [sys.executable, "-c", code, str(own.library), str(own.model), str(new)], check=True
        )
        time.sleep(1)
        assert client.get("/v1/pictures").json()["total"] == total + 1
        assert client.get("/v1/status").json()["change"] != change
        found = client.get(f"/v1/pictures/{content_id(new.read_bytes())}/similar").json()
        assert found["matches"][0]["path"] == str(new)
        opened.service.broadcast.close()
        time.sleep(0.1)
        opened.server.should_exit = True
        told = [data["change"] for name, data in news.result(30) if name == "library"]
        assert len(told) >= 2
        assert told[0] == change
