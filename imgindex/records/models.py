"""What there is to know of a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import Fit, Precision, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        precision: of the numbers stored, and of the arithmetic where the processor has it.
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
    precision: Precision = "float32"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides an embedding; equal means vectors may be mixed.

        Weights of another precision have another checksum, so precision need not be in it.
        """
        decisive = {
            key: value
            for key, value in dataclasses.asdict(self).items()
            if key not in {"name", "source", "licence", "precision"}
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def to_metadata(self) -> dict[str, str]:
        """The card as ONNX metadata: keys ``imgindex.<field>``, values as JSON."""
        said = {f"imgindex.{key}": json.dumps(value) for key, value in to_json(self).items()}
        # What may be missing comes first, so that a file cut short lacks something else.
        return {"imgindex.precision": said.pop("imgindex.precision"), **said}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelCard:
        """Read a card back.

        Raises:
            KeyError: a field is missing; the file was not built by imgindex.
            ValueError: a field is not JSON.
        """
        said = {
            field.name: json.loads(metadata[f"imgindex.{field.name}"])
            for field in dataclasses.fields(cls)
            # Older models do not say it.
            if field.name != "precision" or "imgindex.precision" in metadata
        }
        return cls(**said)


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
