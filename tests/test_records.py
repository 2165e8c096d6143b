from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgindex import records
from imgindex.records import (
    AddReport,
    Box,
    Burst,
    Change,
    Channel,
    Chart,
    ChartedGroup,
    Choice,
    ClusterReport,
    Copy,
    Decision,
    Duplicates,
    DuplicateSet,
    Explanation,
    ExportReport,
    Features,
    Found,
    Frame,
    Group,
    Grouping,
    GroupingSettings,
    Hit,
    IndexedFile,
    LayerInfo,
    Layers,
    Match,
    Member,
    ModelCard,
    ModelPin,
    Paired,
    Picture,
    Place,
    QueryFailure,
    SearchResult,
    Shot,
    SizedGroup,
    Skipped,
    Status,
    StoreStats,
    Term,
    Twin,
    Where,
    lineages,
    to_json,
)

CARD = ModelCard(
    name="vgg16-keras",
    architecture="vgg16",
    layer="block5_pool",
    pooling="average",
    dimension=512,
    size=224,
    fit="squash",
    scaling="BGR minus a mean",
    weights_sha256="a" * 64,
    source="somewhere",
    licence="CC BY 4.0",
)

cards = st.builds(
    ModelCard,
    **{
        field.name: {
            "int": st.integers(1, 10_000),
            "bool": st.booleans(),
            "Fit": st.sampled_from(["squash", "crop", "pad"]),
        }.get(str(field.type), st.text(max_size=20))
        for field in dataclasses.fields(ModelCard)
    },
)


@given(card=cards)
def test_a_card_survives_its_way_through_metadata(card: ModelCard) -> None:
    metadata = card.to_metadata()
    assert all(isinstance(value, str) for value in metadata.values())
    assert all(key.startswith("imgindex.") for key in metadata)
    again = ModelCard.from_metadata({**metadata, "someone.else": "x"})
    assert again == card
    assert again.fingerprint == card.fingerprint


OLD_FIELDS = [field.name for field in dataclasses.fields(ModelCard) if field.name != "precision"]


def test_older_metadata_say_nothing_of_precision() -> None:
    metadata = dataclasses.replace(CARD, precision="int8").to_metadata()
    assert ModelCard.from_metadata(metadata).precision == "int8"
    del metadata["imgindex.precision"]
    assert ModelCard.from_metadata(metadata) == CARD


@pytest.mark.parametrize("field", OLD_FIELDS)
def test_metadata_without_a_field_is_no_card(field: str) -> None:
    metadata = CARD.to_metadata()
    del metadata[f"imgindex.{field}"]
    with pytest.raises(KeyError, match=field):
        ModelCard.from_metadata(metadata)


def test_metadata_that_is_no_json_is_no_card() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        ModelCard.from_metadata(CARD.to_metadata() | {"imgindex.size": "large"})


CHANGES: dict[str, Any] = {
    "architecture": "resnet",
    "layer": "fc1",
    "pooling": "max",
    "dimension": 511,
    "size": 225,
    "fit": "crop",
    "scaling": "RGB",
    "weights_sha256": "b" * 64,
    "trained": False,
    "name": "mine",
    "source": "elsewhere",
    "licence": "MIT",
    "precision": "int8",  # whose weights have another checksum anyway
}


def test_the_changes_cover_every_field() -> None:
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(ModelCard)}


@pytest.mark.parametrize("field", CHANGES)
def test_the_fingerprint_follows_what_decides_an_embedding_and_nothing_else(field: str) -> None:
    changed = dataclasses.replace(CARD, **{field: CHANGES[field]})
    same = field in {"name", "source", "licence", "precision"}
    assert (changed.fingerprint == CARD.fingerprint) is same


def test_the_fingerprint_never_changes_between_versions() -> None:
    # Libraries keep it: another figure here would shut every one of them out.
    assert CARD.fingerprint == "829e01c9ad28783186b119ea3f1fcb2885c13e09d7dd321e28cd5faeaef6053e"
    assert len(CARD.fingerprint) == 64


def a_grouping() -> Grouping:
    return Grouping(
        ids=("a", "b"),
        labels=np.array([0, -1], np.int32),
        parts=np.array([1, -1], np.int32),
        strengths=np.array([0.5, 0], np.float32),
        outliers=np.array([0.25, 1], np.float32),
        exemplars=np.array([True, False]),
        joined=np.array([False, True]),
        places=np.zeros((2, 0), np.float32),
        groups=(Group(0, 1, "a", ("a",)),),
        subgroups=(Group(1, 1, "a", ("a",), parent=0),),
        settings=GroupingSettings(5, 3, "descriptor", "tiny"),
        created="2024-05-06T07:08:09+00:00",
        next_id=2,
    )


FRAME = Frame(4, 2, (-0.5, 0.0, 4.5, 2.0))
MAPS = np.array([[[0.5]]], np.float32)
LABELS = np.zeros(1, np.int32)
PLACE = Place((0, 0, 1, 2), (0, 0, 2, 2), 0.5, None)

TWIN = Twin("a", "b", "near", 0.9)
SHOT = Shot("/a", "a", "2024-05-06T07:08:09")
COPY = Copy("/a", "a", "exact", 1.0)

RECORDS: list[Any] = [
    CARD,
    ModelPin("tiny", "f", 8, 1),
    Found("/a\udcff", 1, 2),
    Skipped("/a\udcff", "empty file"),
    Paired("/a.dng"),
    Choice(("*.jpg",), ("a/", "!b"), hidden=True),
    Picture("a", 1, 2, "JPEG", sketch=b"\0\xff"),
    TWIN,
    COPY,
    SHOT,
    Burst("/a", (SHOT, SHOT)),
    DuplicateSet("/a", "the largest, 1 x 2", (COPY,)),
    Duplicates((), (Skipped("/a", "no"),)),
    IndexedFile("/a", 1, 2, "a"),
    Hit("a", 0.5),
    Match(1, "/é\n", "a", 0.5),
    SearchResult("q", "tiny", "exact", (Match(1, "/a", "a", 1.0), Match(2, "/b", "b", 0.5))),
    QueryFailure("q", "no"),
    Box(1, 2, 30, 40.5, percent=True),
    Term("/a", -0.5, Box(1, 2, 30, 40), "a"),
    Where(("*.jpg",), ("/a",), "2024", "2025-01", (20, 10), (40, 30), "square", ("JPEG",)),
    AddReport(1, 2, 3, 4, 5, (Skipped("/a", "no"),), "tiny", None, 1.5, 0.0),
    a_grouping().groups[0],
    a_grouping().settings,
    a_grouping(),
    SizedGroup(1, 2),
    Decision(1, "together", 7, None, ("a", "b")),
    Decision(2, "form", 8, None, ("a", "b")),
    Change("2024-05-06T07:08:09+00:00", "kept", (SizedGroup(1, 2),), (SizedGroup(1, 3),)),
    ChartedGroup(1, None, 2, "a", 0, "#111111", "#eeeeee"),
    Chart(("a",), MAPS[0, 0], MAPS[0, 0], MAPS[0, 0], LABELS, MAPS[0, 0], 1, 0, (), grouped=True),
    ClusterReport(1, 2, 3, a_grouping().settings, 0.5),
    Member("/a", "a", -1, 0.0, 0.5, exemplar=False, part=-1),
    ExportReport("/t", "csv", 1, 2, 3, (Skipped("/a", "no"),)),
    StoreStats(1, 2, 3, 4, 5, "none", 6),
    Status("/l", 1, 2, 3, 4, 5, None, None, "none", 6, None, None, None),
    FRAME,
    Channel(0, 0.5, 0.5),
    PLACE,
    LayerInfo("block1_pool", None, 64, 16, 16),
    Layers("tiny", (LayerInfo("block1_conv1", 1, 64, 32, None),), ("block1_conv1",), None),
    Features("/a", "tiny", "block1_pool", (Channel(0, 0.5, 0.5),), MAPS, FRAME),
    Explanation("/a", "/b", 0.5, "tiny", "l", *(True, MAPS[0], MAPS[0], FRAME, FRAME, (PLACE,))),
]


def names(record: Any) -> list[str]:
    return (
        [field.name for field in dataclasses.fields(record)]
        if dataclasses.is_dataclass(record)
        else list(record._fields)
    )


def test_every_record_is_among_those_tried() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(records, inspect.isclass)
        if kind.__module__.startswith(records.__name__) and not issubclass(kind, str)
    }
    assert kinds == {type(record) for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_frozen_and_becomes_an_object_of_plain_json(record: Any) -> None:
    plain = to_json(record)
    assert list(plain) == names(record)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    with pytest.raises(AttributeError):
        setattr(record, names(record)[0], None)


def test_records_inside_records_become_plain_too() -> None:
    plain = to_json({1: [a_grouping()], "x": (Hit("a", 0.5), None, True, 3)})
    assert plain["x"] == [{"id": "a", "score": 0.5}, None, True, 3]
    (grouping,) = plain["1"]
    assert grouping["labels"] == [0, -1]
    assert grouping["strengths"] == [0.5, 0.0]
    assert grouping["exemplars"] == [True, False]
    assert grouping["groups"] == [
        {
            "id": 0,
            "size": 1,
            "medoid": "a",
            "exemplars": ["a"],
            "name": None,
            "cover": None,
            "parent": None,
        }
    ]
    assert [type(value) for value in grouping["exemplars"]] == [bool, bool]
    assert to_json(frozenset("ba")) == ["a", "b"]
    assert to_json(np.float32(0.5)) == 0.5
    assert type(to_json(np.float32(0.5))) is float


def test_a_lineage_climbs_to_the_outermost_group() -> None:
    groups = [
        Group(7, 2, "a", (), parent=4),
        Group(4, 5, "a", (), parent=1),
        Group(1, 9, "a", ()),
        Group(8, 3, "b", (), parent=99),  # which is not among them
    ]
    assert lineages(groups) == {7: (7, 4, 1), 4: (4, 1), 1: (1,), 8: (8,)}
    assert lineages([]) == {}
