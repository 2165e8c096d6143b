"""What a library of any size takes, by constants that were measured; each names its source."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# README, Measured, "Embedding": pictures a second on one core, VGG16 at 224 pixels, with matrix
# tiles (AMX).
EMBEDDED_A_CORE_SECOND = {
    "float32": 5.8,
    "int8": 34.0,
    "bfloat16-openvino": 43.0,
    "int8-openvino": 67.0,
}
# README, "Indexing": decoding 12 megapixels takes 41 ms of a core, hashing their 4 MB 4 ms.
DECODE_CORE_SECONDS_A_MEGAPIXEL = 0.041 / 12
HASH_CORE_SECONDS_A_BYTE = 0.004 / 4e6
BYTES_A_MEGAPIXEL = 4e6 / 12
# README, "Indexing", 12 megapixels in eight bits: 21 pictures a second, where the sum of the parts
# would give 2 / (0.041 + 0.004 + 1 / 34) = 26.9.
SHARE_OF_PARTS = 21 / 26.9
# README, "Searching": 100,000 rows of 1,280 numbers were linked in 60 s on 2 cores; table of
# "Measured": 1,000,000 of 512 in 24 min, beside other work. So much more costs ten times the rows.
LINK_CORE_SECONDS, LINK_GROWTH = 60 * 2 / 100_000, (24 * 60 * 2 / 1_000_000) / (60 * 2 / 100_000)
# README, "Searching": a query takes 0.53 ms of a core among 10,000 rows and 1.19 among 100,000; one
# of a batch 0.19 and 0.44. Ten times the rows cost so many times as much.
WALK_CORE_SECONDS, WALK_GROWTH = 1.19e-3, 1.19 / 0.53
WALK_IN_BATCH_CORE_SECONDS, WALK_IN_BATCH_GROWTH = 0.44e-3, 0.44 / 0.19
AMONG = 100_000
# README, table of "Measured", on 2 cores: seconds by pictures; memory at 1,000,000.
GROUPED = {
    "descriptor": {100_000: 15.0, 300_000: 61.0, 1_000_000: 360.0},
    "neighbourhood": {100_000: 28.0, 300_000: 112.0, 1_000_000: 1080.0},
}
GROUPED_CORES = 2
GROUPING_BYTES = 10.3e9 / 1_000_000
# Measured on 2026-11-29 with imgindex.grouping.forest over 1,000,000 points: merging two forests
# of a million made edges each took 0.50 s of a core, and growing one by 2,000,000 edges 0.83.
# What the reduction takes at 10,000,000 is to take its place.
FOREST_CORE_SECONDS_AN_EDGE = 0.83 / 3_000_000
# Two int32 ends, two float32 weights (imgindex.grouping.forest.Edges).
FOREST_BYTES_AN_EDGE = 16
# Counted from the types, in the one process that ends grouping: the tree (three float64: 24),
# single linkage (four: 32), the condensed tree (a line of 32 each), ids as text (89), and the
# columns of imgindex.records.Grouping (18).
REDUCED_BYTES_A_PICTURE = 24 + 32 + 32 + 89 + 18
# imgindex.grouping.ranges: neighbours that Milvus is asked for, and near pairs in ranges of 16,384
# pictures besides. Measured on 2026-11-29 on 16,384 rows of 512 numbers: 9.6 s of a core.
LISTED, RANGED = 64, 96
RANGE_CORE_SECONDS = 9.6 / 16_384
# Measured on 2026-11-29 on a library of 10,000 with sketches and paths of 53 bytes: graph.hnsw has
# 2,197 bytes a row of 512 numbers, library.sqlite 1,649 bytes a picture, and what Store.files()
# gives takes 373 bytes of memory a file.
GRAPH_BYTES_BESIDE_THE_ROW = 149
SQLITE_BYTES = 1_649
LISTING_BYTES = 373
# Fields of imgindex.store.milvus.entities with a path of 53 bytes: sketch in base64 (1,368), ids,
# facts, and the file with its key; Milvus 2.3 keeps the fields of what it serves in memory.
MILVUS_BYTES_BESIDE_THE_ROW = 1_368 + 150 + 250
# config.yaml of the Milvus server 2.3.5 that the tests run: a segment has 512 MB at most. Each is a
# graph of its own, and a search walks all of them.
SEGMENT_MB = 512.0
# imgindex.grouping numbers pictures in int32; hnswlib numbers rows in uint32.
GROUPED_AT_MOST, LINKED_AT_MOST = 2**31 - 1, 2**32 - 1
FREE = 0.8  # of memory and disk, that a plan may fill

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Given:
    """What is to be planned.

    Attributes:
        pictures: how many.
        dimension: numbers of an embedding.
        machines: how many there are.
        cores: of each machine.
        ram: memory of each machine, GB.
        disk: of each machine, TB.
        gbit: network of each machine, gigabits a second.
        gpus: of each machine.
        gpu_rate: pictures a second that one GPU embeds; 0 if nobody has said it.
        megapixels: of a picture.
        precision: how the CPU embeds, one of ``EMBEDDED_A_CORE_SECOND``.
        space: what is grouped, one of ``GROUPED``.
        replicas: copies in memory that searches are spread over.
        segment: of Milvus, MB.
        days: how long embedding, linking or grouping may take at most.
    """

    pictures: int
    dimension: int = 512
    machines: int = 1
    cores: int = 8
    ram: float = 32.0
    disk: float = 1.0
    gbit: float = 10.0
    gpus: int = 0
    gpu_rate: float = 0.0
    megapixels: float = 12.0
    precision: str = "float32"
    space: str = "descriptor"
    replicas: int = 1
    segment: float = SEGMENT_MB
    days: float = 30.0

    @property
    def every_core(self) -> int:
        """Cores of all machines."""
        return self.machines * self.cores

    @property
    def on_milvus(self) -> bool:
        """Whether several machines share it."""
        return self.machines > 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes: bytes and seconds.

    Attributes:
        store: ``local`` or ``milvus``.
        rows: bytes of the embeddings alone.
        disk: bytes on all disks.
        memory: bytes in memory of all machines, to search.
        read: bytes of picture files.
        network: bytes that go over the network, pictures and rows and forests.
        embed: seconds.
        embed_bound: what they are spent on.
        link: seconds to build the graph.
        segments: graphs that a search walks.
        search: core-seconds of one query.
        searches: queries a second, with every core.
        group: seconds to group all anew.
        group_memory: bytes that the one machine needs which ends grouping.
    """

    store: str
    rows: float
    disk: float
    memory: float
    read: float
    network: float
    embed: float
    embed_bound: str
    link: float
    segments: int
    search: float
    searches: float
    group: float
    group_memory: float


@dataclass(frozen=True, slots=True)
class Limit:
    """What a plan runs into.

    Attributes:
        what: it.
        pictures: how many there may be until then.
        remedies: what to do about it, any of them.
    """

    what: str
    pictures: float
    remedies: tuple[str, ...]


def plan(given: Given) -> Plan:
    """What so many pictures take."""
    n, row = given.pictures, 4 * given.dimension
    read = n * given.megapixels * BYTES_A_MEGAPIXEL
    embed, bound = _embedding(given, read)
    graph = row + GRAPH_BYTES_BESIDE_THE_ROW
    if given.on_milvus:
        whole = row + MILVUS_BYTES_BESIDE_THE_ROW
        held = min(n, given.segment * 1e6 / whole)  # pictures of a segment
        segments = math.ceil(n / held)
        disk = n * (whole + graph)
        memory = n * (graph + MILVUS_BYTES_BESIDE_THE_ROW) * given.replicas
    else:
        held, segments = n, 1
        disk = n * (row + graph + SQLITE_BYTES)
        memory = n * (graph + row)
    walk = segments * _among(held, WALK_CORE_SECONDS, WALK_GROWTH)
    group, group_memory, sent = _grouping(given, segments, held)
    return Plan(
        store="milvus" if given.on_milvus else "local",
        rows=n * row,
        disk=disk,
        memory=memory,
        read=read,
        network=(read + n * row * (1 + given.replicas) + sent) if given.on_milvus else 0,
        embed=embed,
        embed_bound=bound,
        link=n * _among(held, LINK_CORE_SECONDS, LINK_GROWTH) / given.every_core,
        segments=segments,
        search=walk,
        searches=given.every_core / walk,
        group=group,
        group_memory=group_memory,
    )


def _embedding(given: Given, read: float) -> tuple[float, str]:
    """Seconds from files to rows, and what bounds them."""
    n = given.pictures
    reading = given.megapixels * (
        DECODE_CORE_SECONDS_A_MEGAPIXEL + BYTES_A_MEGAPIXEL * HASH_CORE_SECONDS_A_BYTE
    )
    spent: dict[str, float] = {}
    if given.gpus and given.gpu_rate:
        spent["GPUs"] = n / (given.machines * given.gpus * given.gpu_rate)
        spent["decoding"] = n * reading / given.every_core
    else:
        network = 1 / EMBEDDED_A_CORE_SECOND[given.precision]
        what = "decoding" if reading > network else "the network on CPUs"
        spent[what] = n * (reading + network) / (given.every_core * SHARE_OF_PARTS)
    if given.on_milvus:
        spent["reading files"] = read * 8 / (given.gbit * 1e9 * given.machines)
    bound = max(spent, key=spent.__getitem__)
    return spent[bound], bound


def _among(rows: float, cost: float, growth: float) -> float:
    """What it costs among so many rows, where it costs ``cost`` among 100,000."""
    return cost * math.pow(growth, math.log10(max(rows, 1) / AMONG))


def _grouping(given: Given, segments: int, held: float) -> tuple[float, float, float]:
    """Seconds, bytes that one machine needs, and bytes sent."""
    n = given.pictures
    if not given.on_milvus:
        seconds = _along(GROUPED[given.space], n) * GROUPED_CORES / min(given.cores, GROUPED_CORES)
        return seconds, n * GROUPING_BYTES, 0
    walk = _among(held, WALK_IN_BATCH_CORE_SECONDS, WALK_IN_BATCH_GROWTH)
    neighbours = n * (segments * walk + RANGE_CORE_SECONDS) / given.every_core
    # Every machine makes a forest of its own pairs; then two become one, until one is left.
    pairs = n * (LISTED + RANGED)
    forests = pairs * FOREST_CORE_SECONDS_AN_EDGE / given.machines
    rounds = math.ceil(math.log2(given.machines))
    merged = 2 * n * FOREST_CORE_SECONDS_AN_EDGE * rounds
    sent = n * FOREST_BYTES_AN_EDGE * (given.machines - 1)
    received = rounds * n * FOREST_BYTES_AN_EDGE * 8 / (given.gbit * 1e9)
    return neighbours + forests + merged + received, n * REDUCED_BYTES_A_PICTURE, sent


def _along(measured: dict[int, float], n: int) -> float:
    """Seconds for n pictures: on a straight line through two measured points, in logarithms."""
    points = sorted(measured.items())
    low, high = points[0], points[1]
    for one, other in pairwise(points):
        if n > one[0]:
            low, high = one, other
    slope = math.log(high[1] / low[1]) / math.log(high[0] / low[0])
    return low[1] * math.exp(slope * math.log(n / low[0]))


def limits(given: Given) -> list[Limit]:
    """What breaks, in the order of the pictures it breaks at."""

    def until(fits: Callable[[Plan], bool]) -> float:
        """The most pictures for which a plan fits."""
        low, high = 0, 2**50
        while high - low > max(1, low // 1000):
            middle = (low + high + 1) // 2
            if fits(plan(replace(given, pictures=max(1, middle)))):
                low = middle
            else:
                high = middle - 1
        return low

    ram, disk, time = given.ram * 1e9 * FREE, given.disk * 1e12 * FREE, given.days * DAY
    more = "more machines" if given.on_milvus else "several machines and a library on Milvus"
    part = "grouping a part, whose groups take in what is indexed later"
    fewer = "a model with fewer numbers"
    larger = ("larger segments on Milvus",) if given.on_milvus else ()
    found = [
        Limit(
            "memory to search in",
            until(lambda one: one.memory <= ram * given.machines),
            (more, "more memory", fewer),
        ),
        Limit(
            "disk",
            until(lambda one: one.disk <= disk * given.machines),
            (more, "larger disks", fewer),
        ),
        Limit(
            "time to embed",
            until(lambda one: one.embed <= time),
            ("GPUs", "eight bits or OpenVINO", more),
        ),
        Limit("time to build the index", until(lambda one: one.link <= time), (more,)),
        Limit("time to group", until(lambda one: one.group <= time), (*larger, more, part)),
        Limit(
            "memory of the one machine that ends grouping",
            until(lambda one: one.group_memory <= ram),
            ("one machine with more memory", part),
        ),
        Limit(
            "memory for the list of all files",
            ram // LISTING_BYTES,
            ("indexing folder by folder, as a run lists only files below its own PATHs",),
        ),
        Limit("numbers of 32 bits in grouping", GROUPED_AT_MOST, (part,)),
    ]
    if not given.on_milvus:
        found.append(Limit("numbers of 32 bits in the graph", LINKED_AT_MOST, (more,)))
    return sorted(found, key=lambda one: one.pictures)


def assumptions(given: Sequence[Given]) -> list[str]:
    """What the figures rest on, in sentences."""
    said = [
        "measured on two cores with matrix tiles; more cores and machines help in proportion",
        f"a whole index run takes 1 / {SHARE_OF_PARTS:.2f} of the time of its parts, as measured",
        f"a picture's file has {BYTES_A_MEGAPIXEL / 1e6:.2f} MB a megapixel; a path 53 bytes",
        "linking and finding a row cost the same with fewer numbers than were measured",
        f"memory and disks may be filled to {FREE:.0%}; what else runs there is not counted",
    ]
    if any(one.gpus for one in given):
        said.append("how fast a GPU embeds is what --gpu-rate says; we have measured none")
    if any(not one.on_milvus for one in given):
        said.append(
            "on one machine grouping takes what it took on two cores; beyond 1,000,000 it grows on "
            "as between 300,000 and 1,000,000"
        )
    if any(one.on_milvus for one in given):
        said.append(
            "on Milvus every segment is a graph of its own; a search walks all of them, and is not "
            "slowed down by the network"
        )
        said.append(
            "pictures are read over the network; rows go to the disks once and to every replica"
        )
        said.append(
            f"several machines group descriptors: Milvus is asked for {LISTED} neighbours of each "
            f"picture, {RANGED} pairs come besides, and forests are merged two by two, each time "
            "on one core; the tree that follows is not counted"
        )
    return said
