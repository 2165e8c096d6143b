"""The one place that speaks to Milvus: requests within its limits, its errors in our words.

Facts about Milvus 2.3 that this relies on: a request may have 64 MB and return 16,384 entities; a
query with a limit gives the smallest keys; one's own puts are seen at once by ``Session``, one's
own deletions only by ``Strong``.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar

from imgindex.errors import ImgindexError, LibraryNotFoundError, SettingError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imgindex.records import Rows

    from .place import Consistency, Place

Answer = TypeVar("Answer")
Entity = dict[str, Any]

MOST = 16_384  # entities that one answer may have
_PAGE = 4_000  # entities of one answer, where many are wanted
_KEYS = 1_000  # keys in one condition
_PUT_BYTES = 8_000_000  # of one request; the server takes 64 MB
_PUT = 4_000
_PATIENCE = 60.0  # seconds for one request
_DELETED = 2.0  # seconds for which deletions need Strong reads to be seen
_NOT_FOUND, _NOT_LOADED = 100, (101, 103)  # Milvus's numbers of these errors
_PART = "part"  # the field that the server spreads entities by, where there are partitions
_TEXT = 65_535  # bytes of the longest text


class Server:
    """A connection to the server, for the collections of one library.

    Attributes:
        shared: others write as well, and what they wrote has to be seen.
    """

    def __init__(self, place: Place) -> None:
        """Connect.

        Raises:
            SettingError: there is no such file of certificates.
            StoreError: pymilvus is not installed, or the server cannot be reached.
        """
        try:
            from pymilvus import MilvusClient
        except ImportError:
            raise StoreError(
                "libraries on Milvus need pymilvus; install it with: pip install 'imgindex[milvus]'"
            ) from None
        if place.certificate and not os.path.isfile(place.certificate):  # noqa: PTH113 - text
            raise SettingError(
                f"IMGINDEX_MILVUS_CERTIFICATE: {place.certificate} is not there; name a file of "
                "certificates (PEM)"
            )
        self._place = place
        self._deleted: dict[str, float] = {}
        self._parted: dict[str, bool] = {}
        self.shared = False
        self._client: Any = self._asked(
            MilvusClient,
            uri=place.uri,
            token=place.token,
            db_name=place.database,
            timeout=_PATIENCE,
            dedicated=True,
            **({"server_pem_path": place.certificate} if place.certificate else {}),
        )
        # It writes whole tracebacks to standard error, of what is told as an error of ours.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)

    def has(self, name: str) -> bool:
        """Whether there is a collection; one whose maker died half way can be made again."""
        if not self._asked(self._client.has_collection, name, timeout=_PATIENCE):
            return False
        return bool(self._asked(self._client.list_indexes, name, timeout=_PATIENCE))

    def create(
        self, name: str, fields: Mapping[str, type], dimension: int, *, graph: bool = False
    ) -> None:
        """Make a collection of entities with an ``id``, a ``row`` and further fields, and load it.

        Args:
            name: of the collection.
            fields: int, bool or str of each further field.
            dimension: of the rows.
            graph: link the rows for searching, and spread them over the partitions asked for, if
                any; else they are compared one by one.
        """
        from pymilvus import DataType, MilvusClient

        kinds = {int: DataType.INT64, bool: DataType.BOOL, str: DataType.VARCHAR}
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
        for field, kind in fields.items():
            schema.add_field(field, kinds[kind], **({"max_length": _TEXT} if kind is str else {}))
        schema.add_field("row", DataType.FLOAT_VECTOR, dim=dimension)
        index = MilvusClient.prepare_index_params()
        place = self._place
        more = {}
        if graph and place.partitions:
            schema.add_field(_PART, DataType.INT64, is_partition_key=True)
            more["num_partitions"] = place.partitions
        params = {"M": place.m, "efConstruction": place.ef_construction}
        index.add_index(
            "row",
            index_type="HNSW" if graph else "FLAT",
            metric_type="IP",  # the rows have length 1: it is the cosine, and they stay as they are
            params=params if graph else {},
        )
        self._asked(
            self._client.create_collection,
            name,
            schema=schema,
            num_shards=place.shards,
            consistency_level="Session",
            **more,
        )
        self._asked(self._client.create_index, name, index, sync=False)
        self.load(name, wait=False)

    def load(self, name: str, *, wait: bool = True) -> None:
        """Have a collection ready to be asked; who asks one that is not waits for it then."""
        replicas = self._place.replicas
        self._asked(self._client.load_collection, name, replica_number=replicas, _async=not wait)

    def drop(self, name: str) -> None:
        """Drop a collection with all that is in it."""
        self._asked(self._client.drop_collection, name)

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Put entities in place of those with their ids; each request happens whole or not."""
        some, size = list[Entity](), 0
        parted = self._is_parted(name)
        for entity in entities:
            weight = sum(len(v) * 4 for v in entity.values() if hasattr(v, "__len__")) + 64
            if some and (size + weight > _PUT_BYTES or len(some) == _PUT):
                self._asked(self._client.upsert, name, some, timeout=_PATIENCE)
                some, size = [], 0
            some.append(entity | {_PART: int(entity["id"][:8], 16)} if parted else entity)
            size += weight
        if some:
            self._asked(self._client.upsert, name, some, timeout=_PATIENCE)

    def _is_parted(self, name: str) -> bool:
        if name not in self._parted:
            told = self._asked(self._client.describe_collection, name)
            self._parted[name] = any(one["name"] == _PART for one in told["fields"])
        return self._parted[name]

    def take(self, name: str, ids: Sequence[str]) -> None:
        """Delete entities."""
        for some in portions(ids):
            self._deleted[name] = time.monotonic()
            self._asked(self._client.delete, name, ids=list(some), timeout=_PATIENCE)

    def count(self, name: str, condition: str = "") -> int:
        """How many entities meet a condition."""
        found = self._query(name, condition, ["count(*)"])
        return int(found[0]["count(*)"])

    def get(  # noqa: PLR0913 - which of them, and what of them
        self,
        name: str,
        ids: Iterable[str],
        fields: Sequence[str],
        condition: str = "",
        *,
        key: str = "id",
        consistency: Consistency | None = None,
    ) -> Iterator[Entity]:
        """Entities by their ids, or by the values of another field, that meet a condition."""
        for some in portions(list(dict.fromkeys(ids))):
            among = f"{key} in {quoted(some)}"
            whole = f"({among}) and ({condition})" if condition else among
            if key == "id":  # no more of them than there are ids
                yield from self._query(name, whole, fields, len(some), consistency)
            else:
                yield from self.every(name, fields, whole)

    def every(
        self, name: str, fields: Sequence[str], condition: str = "", page: int = _PAGE
    ) -> Iterator[Entity]:
        """All entities that meet a condition, by id."""
        last = ""
        while True:
            behind = f"id > {quoted(last)}"
            whole = f"({condition}) and {behind}" if condition else behind
            found = self._query(name, whole, ["id", *fields], page)
            yield from found
            if len(found) < page:
                return
            last = max(one["id"] for one in found)

    def first(self, name: str, fields: Sequence[str], condition: str, most: int) -> list[Entity]:
        """The entities with the smallest ids that meet a condition."""
        return self._query(name, condition, ["id", *fields], min(most, MOST))

    def search(
        self, name: str, queries: Rows, k: int, condition: str, consistency: Consistency
    ) -> list[list[tuple[str, float]]]:
        """The nearest entities of each query that meet a condition, with their products."""
        out: list[list[tuple[str, float]]] = []
        step = max(1, min(1_000, 1_000_000 // k))
        for start in range(0, len(queries), step):
            found = self._loaded(
                self._client.search,
                name,
                data=list(queries[start : start + step]),
                filter=condition,
                limit=k,
                search_params={"params": {"ef": max(self._place.ef, k)}},
                consistency_level=self._seeing(name, consistency),
                timeout=_PATIENCE,
            )
            out += [[(one["id"], float(one["distance"])) for one in line] for line in found]
        return out

    def close(self) -> None:
        """Let go of the connection."""
        self._asked(self._client.close)

    def _query(
        self,
        name: str,
        condition: str,
        fields: Sequence[str],
        limit: int | None = None,
        consistency: Consistency | None = None,
    ) -> list[Entity]:
        more: dict[str, Any] = {} if limit is None else {"limit": limit}
        found: list[Entity] = self._loaded(
            self._client.query,
            name,
            filter=condition,
            output_fields=list(fields),
            consistency_level=self._seeing(name, consistency or self._place.consistency),
            timeout=_PATIENCE,
            **more,
        )
        return list(found)

    def _loaded(self, work: Callable[..., Answer], name: str, **kwargs: Any) -> Answer:
        """Ask a collection, which a server that was started anew may have to load first."""
        try:
            return self._asked(work, name, **kwargs)
        except StoreError as error:
            if getattr(error.__cause__, "code", None) not in _NOT_LOADED:
                raise
        self.load(name)
        return self._asked(work, name, **kwargs)

    def _seeing(self, name: str, consistency: Consistency) -> Consistency:
        recent = time.monotonic() - self._deleted.get(name, -_DELETED) < _DELETED
        return "Strong" if recent or self.shared else consistency

    def _asked(self, work: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
        try:
            return work(*args, **kwargs)
        except ImgindexError:
            raise
        except Exception as error:
            raise translated(error, self._place.url) from error


def translated(error: Exception, url: str) -> StoreError:
    """An error of pymilvus, of gRPC or of Python below them, in our words."""
    code = getattr(error, "code", None)
    text = " ".join(str(getattr(error, "message", None) or error).split())
    if code == _NOT_FOUND or "collection not found" in text:
        return LibraryNotFoundError(f"the library {url} is gone from its server ({text})")
    name = type(error).__name__
    # Who is refused while connecting is told of the connection only; what lies behind says why.
    if "auth" in f"{text} {error.__cause__}".lower():
        return StoreError(
            f"the server of {url} refuses the token: {text}; set IMGINDEX_MILVUS_TOKEN"
        )
    if "connect" in text.lower() or "UNAVAILABLE" in text or isinstance(error, OSError):
        return StoreError(f"the server of {url} cannot be reached: {text or name}; does it run?")
    return StoreError(f"the server of {url} could not do what it was asked: {text or name}")


def quoted(value: str | Sequence[str]) -> str:
    """A text, or a list of texts, as a condition has it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(list(value), ensure_ascii=False)


def portions(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts that fit into a condition."""
    for start in range(0, len(values), _KEYS):
        yield values[start : start + _KEYS]
