from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgindex.ahead import ahead, at_hand

if TYPE_CHECKING:
    from collections.abc import Iterator


@settings(max_examples=40)
@given(
    delays=st.lists(st.integers(0, 3), max_size=20),
    threads=st.integers(1, 6),
    depth=st.integers(1, 8),
)
def test_results_come_in_the_order_of_the_items(
    delays: list[int], threads: int, depth: int
) -> None:
    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 2000)
        return item[0]

    got = list(ahead(work, enumerate(delays), threads=threads, depth=depth))
    assert got == list(range(len(delays)))


@pytest.mark.parametrize(("threads", "depth"), [(1, 1), (2, 3), (4, 2), (8, 5)])
def test_no_more_calls_are_begun_than_the_depth_allows(threads: int, depth: int) -> None:
    lock = threading.Lock()
    running = most = 0
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(30):
            taken = item + 1
            yield item

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return item

    for used, _ in enumerate(ahead(work, items(), threads=threads, depth=depth)):
        assert taken - used <= depth
    assert taken == 30
    assert most <= min(threads, depth)


def test_work_is_really_done_ahead_and_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def work(item: int) -> int:
        together.wait()  # comes back only when three calls are under way at once
        return item

    assert list(ahead(work, range(6), threads=3, depth=3)) == list(range(6))


def test_an_error_comes_up_where_its_result_would() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item

    results = ahead(work, range(10), threads=4, depth=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)


def test_an_error_of_the_items_comes_up_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ahead(lambda item: item, items(), threads=2, depth=4))


def test_leaving_early_drops_what_was_not_begun_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    begun: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item > 0:
            gate.wait(10)
        return item

    results = ahead(work, range(100), threads=2, depth=50)
    assert next(results) == 0
    gate.set()
    results.close()
    done = len(begun)
    assert done <= 50
    assert set(threading.enumerate()) <= before
    time.sleep(0.02)
    assert len(begun) == done


def test_a_call_that_was_not_begun_never_runs_after_an_early_end() -> None:
    begun: list[int] = []
    busy, gate = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            busy.set()
            gate.wait(10)
        return item

    results = ahead(work, range(100), threads=1, depth=20)
    assert next(results) == 0
    assert busy.wait(10)
    threading.Timer(0.05, gate.set).start()
    results.close()  # waits for call 1, which holds the only thread, and drops 2 to 19
    assert begun == [0, 1]


# Streams


@settings(max_examples=40)
@given(items=st.lists(st.none() | st.integers(), max_size=60), most=st.integers(1, 9))
def test_every_item_comes_once_and_in_order(items: list[int | None], most: int) -> None:
    groups = list(at_hand(items, most))
    assert [item for group in groups for item in group] == items
    assert all(1 <= len(group) <= most for group in groups)


def test_who_waits_for_an_answer_gets_it_before_asking_again() -> None:
    answers: list[int] = []
    answered = threading.Event()

    def ask() -> Iterator[int]:
        for question in range(5):
            answered.clear()
            yield question
            assert answered.wait(10), "the answer never came"

    for group in at_hand(ask(), 64):
        answers += group
        answered.set()
    assert answers == list(range(5))


def test_who_sends_many_is_served_in_batches() -> None:
    sent = threading.Event()

    def stream() -> Iterator[int]:
        yield from range(100)
        sent.set()

    groups = at_hand(stream(), 64)
    first = next(groups)
    assert sent.wait(10)  # the channel is wide enough for these
    second = next(groups)
    assert len(first) + len(second) >= 64
    assert [*first, *second, *(item for group in groups for item in group)] == list(range(100))


def test_a_stream_that_breaks_gives_what_came_before_it() -> None:
    def stream() -> Iterator[int]:
        yield from range(3)
        raise OSError("unplugged")

    got: list[int] = []

    def read() -> None:
        for group in at_hand(stream(), 2):
            got.extend(group)

    with pytest.raises(OSError, match="unplugged"):
        read()
    assert got == [0, 1, 2]


def test_leaving_a_stream_early_ends_its_thread() -> None:
    before = set(threading.enumerate())

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    groups = at_hand(endless(), 4)
    assert next(groups)[0] == 0
    groups.close()
    patience = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < patience:
        time.sleep(0.005)
    assert set(threading.enumerate()) <= before
