"""Indexing a folder as people write it themselves: torch, a loop, a file of rows at the end.

    python -m benches.plain KIND SIDE   loads the network, then reads lines "FOLDER<tab>OUT.npy"

KIND is ``loop``, ``loader``, ``imagededup`` or ``imagededup-vgg16``. Once loaded, and behind each
folder, it says so with a line: the work is timed by whoever asked, and loading does not count.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from imgindex.graph import TORCH

from .torch_peer import network, torchvision

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS, BATCH = 2, 8


class Files:
    """Pictures of a folder, as a DataLoader takes them."""

    def __init__(self, folder: Path, side: int) -> None:
        """List them."""
        self.files = sorted(folder.glob("*.jpg"))
        self.side = side
        transforms = torchvision().transforms
        steps = [transforms.ToTensor(), transforms.Normalize(TORCH.mean, TORCH.std)]
        self.preprocess = transforms.Compose(steps)

    def __len__(self) -> int:
        """How many."""
        return len(self.files)

    def __getitem__(self, at: int) -> Any:
        """One, ready for the network."""
        picture = Image.open(self.files[at]).convert("RGB").resize((self.side, self.side))
        return self.preprocess(picture)


def rows_of(features: Any, images: Any) -> Any:
    """The unit vectors of a batch."""
    with torch.no_grad():
        return torch.nn.functional.normalize(features(images).mean((2, 3)), dim=1).numpy()


def loop(features: Any, folder: Path, side: int) -> Any:
    """One picture after the other."""
    files = Files(folder, side)
    return np.concatenate([rows_of(features, files[at][None]) for at in range(len(files))])


def loader(features: Any, folder: Path, side: int) -> Any:
    """Batches, decoded by processes of their own."""
    batches = DataLoader(Files(folder, side), batch_size=BATCH, num_workers=WORKERS)
    return np.concatenate([rows_of(features, images) for images in batches])


def imagededup(kind: str, side: int) -> Callable[[Path], Any]:
    """The CNN way of imagededup; its MobileNet with random weights, so that nothing is fetched."""
    vision = torchvision()
    from imagededup.methods import CNN
    from imagededup.utils.models import CustomModel, MobilenetV3

    if kind == "imagededup":
        small = vision.models.mobilenet_v3_small(weights=None).eval()
        model = torch.nn.Sequential(small.features, small.avgpool, torch.nn.Flatten())
        transform = MobilenetV3.transform
    else:
        model = torch.nn.Sequential(
            network(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ).eval()
        transforms = vision.transforms
        steps = [transforms.Resize((side, side)), transforms.ToTensor()]
        transform = transforms.Compose([*steps, transforms.Normalize(TORCH.mean, TORCH.std)])
    encoder = CNN(verbose=False, model_config=CustomModel(kind, model, transform))
    return lambda folder: np.stack(list(encoder.encode_images(folder).values()))


def main() -> None:
    """Load, say so, then do what the lines ask for."""
    kind, side = sys.argv[1], int(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever packages print is no answer
    embed: Callable[[Path], Any]
    if kind.startswith("imagededup"):
        embed = imagededup(kind, side)
    else:
        features, way = network(), {"loop": loop, "loader": loader}[kind]
        embed = lambda folder: way(features, folder, side)  # noqa: E731 - as the branch above
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        folder, out = line.rstrip("\n").split("\t")
        np.save(out, embed(Path(folder)))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
