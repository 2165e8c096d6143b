"""The records that travel between the rooms, frozen, and their one way into JSON.

Array conventions, everywhere in the package:

* ``Pixels``  uint8 ``[h, w, 3]``, RGB, 0..255; a batch is ``[n, s, s, 3]``.
* ``Rows``    float32 ``[n, d]``, one embedding a row, each of Euclidean length 1.
* ``Labels``  int32 ``[n]``, the group of each picture, -1 for noise.

Scores are cosines in [-1, 1]. Times are seconds. Paths are absolute ``str``; a name that is not
UTF-8 survives as surrogate escapes (``os.fsencode`` gives the bytes back).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Rows: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int32]

Way = Literal["exact", "hnsw"]
Fit = Literal["squash", "crop", "pad"]
Space = Literal["descriptor", "neighbourhood"]
DecisionKind = Literal["name", "cover", "together", "apart"]
ChangeKind = Literal["kept", "split", "merged", "new", "gone"]
Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; total is 0 while it is not known."""

NOISE = -1
MIN_CLUSTER_SIZE = 8
"""The default: of 5 to 20 it agreed best with the classes of six labelled sets."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Do nothing; the default of every ``progress`` argument."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model file says of itself, kept in the ONNX file's ``metadata_props``.

    Attributes:
        name: how users call it, for example ``vgg16-keras``.
        architecture: the network, for example ``vgg16``.
        layer: the layer that is read, for example ``block5_pool``.
        pooling: how its map becomes a vector: ``average``, ``max``, ``gem``, ``rmac`` or ``none``.
        dimension: length d of the embedding.
        size: side s of the square input in pixels.
        fit: how a picture is brought to s x s: ``squash`` to the square, ``crop`` its centre,
            or ``pad`` with grey.
        scaling: how bytes become the network's numbers, in words.
        weights_sha256: checksum of the weights (arrays, or the foreign file), lower-case hex.
        source: where the weights come from.
        licence: terms of the weights.
        trained: False for the random weights that tests use.
    """

    name: str
    architecture: str
    layer: str
    pooling: str
    dimension: int
    size: int
    fit: Fit
    scaling: str
    weights_sha256: str
    source: str
    licence: str
    trained: bool = True

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides an embedding; equal means vectors may be mixed."""
        decisive = {
            key: value
            for key, value in dataclasses.asdict(self).items()
            if key not in {"name", "source", "licence"}
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def to_metadata(self) -> dict[str, str]:
        """The card as ONNX metadata: keys ``imgindex.<field>``, values as JSON."""
        return {f"imgindex.{key}": json.dumps(value) for key, value in to_json(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelCard:
        """Read a card back.

        Raises:
            KeyError: a field is missing; the file was not built by imgindex.
            ValueError: a field is not JSON.
        """
        return cls(
            **{
                field.name: json.loads(metadata[f"imgindex.{field.name}"])
                for field in dataclasses.fields(cls)
            }
        )


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The model a library was built with; vectors of another one are never mixed in.

    Attributes:
        name: the model's name, for messages.
        fingerprint: ``ModelCard.fingerprint``.
        dimension: length of its embeddings.
        preprocessing: version of the code that makes pixels from files.
    """

    name: str
    fingerprint: str
    dimension: int
    preprocessing: int


class Found(NamedTuple):
    """A regular file met on a walk, with what tells cheaply whether it changed."""

    # A tuple: a walk makes a hundred thousand of them, at a third of a frozen dataclass's cost.

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read as a picture, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture by content: the same bytes in five places are one picture.

    Attributes:
        id: BLAKE2b-128 of the file's bytes, 32 hex digits.
        width: pixels, after EXIF orientation.
        height: pixels, after EXIF orientation.
        format: Pillow's name of the format, for example ``JPEG``.
        taken: capture time from EXIF, ISO 8601 without a zone, or None.
    """

    id: str
    width: int
    height: int
    format: str
    taken: str | None = None


class IndexedFile(NamedTuple):
    """What the library knows of one path.

    Attributes:
        path: the file.
        size: bytes, when it was read.
        mtime_ns: modification time in nanoseconds, when it was read.
        id: the picture it holds; None when it could not be read.
        reason: why it could not be read; None when it could.
        missing: it was there once and has vanished.
    """

    path: str
    size: int
    mtime_ns: int
    id: str | None = None
    reason: str | None = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture found by a store, with its cosine to the query."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """One line of a search result; rank counts from 1, score is a cosine in [-1, 1]."""

    rank: int
    path: str
    id: str
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query; ``way`` says whether every vector was compared or the graph used."""

    query: str
    model: str
    way: Way
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """One query of many that could not be answered, and why."""

    query: str
    error: str


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one run of indexing did, in files.

    Attributes:
        added: files with new content, embedded in this run.
        reused: new or changed files whose content was known already; not embedded again.
        moved: files whose content was last seen at a path that is gone now; not embedded again.
        removed: files that have vanished since the last run; no result names them any more.
        unchanged: files with the size and time of the last run; not even opened.
        skipped: files that cannot be read as pictures, in the order of the walk.
        model: name of the model.
        device: what really computed, for example ``cpu`` or ``cuda:0``; None if nothing had to be.
        seconds: wall time of the run.
        images_per_second: embedded pictures by wall time of the embedding part; 0 if none.
    """

    added: int
    reused: int
    moved: int
    removed: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    model: str
    device: str | None
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Group:
    """One group of pictures.

    Attributes:
        id: its number. It stays from run to run while the group is the same; no other group ever
            gets it.
        size: pictures in it.
        medoid: id of the member nearest to the group's mean direction.
        exemplars: ids of the members at the group's densest level.
        name: what users call it.
        cover: id of the member that users pinned to stand for it; None lets the medoid.
    """

    id: int
    size: int
    medoid: str
    exemplars: tuple[str, ...]
    name: str | None = None
    cover: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a user said of a group or of pictures; it holds for every run until it is forgotten.

    Attributes:
        number: what it goes by; from 1, no number is used twice.
        kind: ``name`` (a group is called so), ``cover`` (a picture stands for a group),
            ``together`` (pictures belong in one group) or ``apart`` (all but the first picture do
            not belong in the first one's group).
        group: the group named or covered; for ``together`` the id of the group that the pictures
            form when all of them are noise; else None.
        name: the name; else None.
        pictures: ids of the pictures.
    """

    number: int
    kind: DecisionKind
    group: int | None
    name: str | None
    pictures: tuple[str, ...]


class SizedGroup(NamedTuple):
    """A group as history names it: its id, and how many pictures it had."""

    id: int
    size: int


@dataclass(frozen=True, slots=True)
class Change:
    """What became of groups in one run of grouping.

    Attributes:
        created: the run, by its time; ISO 8601 in UTC.
        kind: ``kept``, ``split`` (one became several), ``merged`` (several became one), ``new`` or
            ``gone``.
        before: the groups of the run before, by id.
        after: the groups of this run, by id.
    """

    created: str
    kind: ChangeKind
    before: tuple[SizedGroup, ...]
    after: tuple[SizedGroup, ...]


@dataclass(frozen=True, slots=True)
class GroupingSettings:
    """How a grouping was made.

    Attributes:
        min_cluster_size: smallest number of pictures that counts as a group.
        min_samples: the core distance of a picture reaches to its min_samples-th neighbour.
        space: what HDBSCAN ran on.
        model: name of the embedding model.
    """

    min_cluster_size: int
    min_samples: int
    space: Space
    model: str


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A grouping of the library; row i of every array is picture ``ids[i]``.

    Attributes:
        ids: picture ids, ascending.
        labels: int32 [n], group of each picture, -1 for noise.
        strengths: float32 [n] in [0, 1], how firmly a picture sits in its group; 0 for noise.
        outliers: float32 [n] in [0, 1], GLOSH outlier scores.
        exemplars: bool [n], True for a picture at its group's densest level.
        joined: bool [n], True for a picture that was put into its group, or found to be noise,
            when it came, after the run.
        places: float32 [n, w], where the neighbourhood embedding has each picture; NaN for those
            that came after the run, and w is 0 in other spaces.
        groups: the groups, by falling size, equal sizes by id; one whose pictures were all pruned
            since the run is left out.
        settings: how it was made.
        created: when, ISO 8601 in UTC.
    """

    ids: tuple[str, ...]
    labels: Labels
    strengths: NDArray[np.float32]
    outliers: NDArray[np.float32]
    exemplars: NDArray[np.bool_]
    joined: NDArray[np.bool_]
    places: NDArray[np.float32]
    groups: tuple[Group, ...]
    settings: GroupingSettings
    created: str


def groups_of(
    ids: Sequence[str],
    labels: Labels,
    strengths: NDArray[np.float32],
    exemplars: NDArray[np.bool_],
    medoids: Mapping[int, str],
) -> tuple[Group, ...]:
    """The groups of a grouping, by falling size, equal sizes by id.

    Args:
        ids: picture ids.
        labels: int32 [n], each a key of ``medoids`` or -1.
        strengths: float32 [n].
        exemplars: bool [n].
        medoids: of each group. For one that is not in it (any more) the strongest member stands in,
            and a group without members is left out.
    """
    members: dict[int, list[int]] = {}
    for at, label in enumerate(labels.tolist()):
        members.setdefault(label, []).append(at)
    groups = []
    for group, medoid in medoids.items():
        own = members.get(group, [])
        here = [ids[at] for at in own]
        if own:
            strongest = ids[max(own, key=strengths.__getitem__)]
            shown = tuple(ids[at] for at in own if exemplars[at])
            groups.append(Group(group, len(own), medoid if medoid in here else strongest, shown))
    return tuple(sorted(groups, key=lambda group: (-group.size, group.id)))


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """What one run of grouping found: counts of pictures, groups, and pictures that are noise."""

    pictures: int
    groups: int
    noise: int
    settings: GroupingSettings
    seconds: float


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a grouping, as exports list it; group -1 is noise."""

    path: str
    id: str
    group: int
    strength: float
    outlier: float
    exemplar: bool


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote: where, of which kind, how many files of the library it names."""

    target: str
    kind: str
    pictures: int
    files: int
    groups: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """A store's own figures.

    Attributes:
        pictures: pictures with at least one file present.
        files: files present.
        missing: files that have vanished and are not pruned yet.
        unreadable: files remembered as unreadable.
        vectors: rows held, dead ones included.
        index: state of the HNSW graph: ``ready``, ``stale``, ``damaged`` or ``none``.
        bytes: size on disk; 0 in memory.
    """

    pictures: int
    files: int
    missing: int
    unreadable: int
    vectors: int
    index: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """A library at a glance; ``stale`` says why the groups should be discovered anew."""

    library: str
    pictures: int
    files: int
    missing: int
    unreadable: int
    vectors: int
    dimension: int | None
    model: str | None
    index: str
    bytes: int
    groups: int | None
    grouped: str | None
    stale: str | None


def to_json(record: Any) -> Any:
    """Turn a record into plain JSON values: records to objects, arrays and tuples to lists."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {
            field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)
        }
    if hasattr(record, "_asdict"):
        record = record._asdict()
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    if hasattr(record, "tolist"):
        return record.tolist()
    return record
