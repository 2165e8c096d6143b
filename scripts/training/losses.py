"""What the pupil is asked for: the labels, the teacher's opinion, its features, its likenesses."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from . import network

SHARES = {"labels": 0.5, "classes": 1.0, "code": 4.0, "likeness": 2.0}
"""Weight of each part in the sum."""

_SMOOTHING = 0.1
_TEACHERS_SHARPNESS = 10.0
_SAME_CLASS = 0.3


def labels(scores: Any, targets: Any, spans: Any, known: Any) -> Any:
    """Cross-entropy with smoothed labels, each picture judged among the classes of its own set.

    Args:
        scores: float32 [n, classes].
        targets: int64 [n].
        spans: int64 [n, 2], first class of the set and the one after the last.
        known: bool [n], which pictures have a label.
    """
    places = torch.arange(scores.shape[1], device=scores.device)
    inside = (places >= spans[:, :1]) & (places < spans[:, 1:])
    logs = functional.log_softmax(scores.masked_fill(~inside, -1e4), dim=1)
    hit = logs.gather(1, targets[:, None])[:, 0]
    rest = logs.masked_fill(~inside, 0).sum(1) / inside.sum(1)
    each = -(1 - _SMOOTHING) * hit - _SMOOTHING * rest
    return (each * known).sum() / known.sum().clamp(min=1)


def classes(scores: Any, teachers: Any) -> Any:
    """How far the pupil's 1001 probabilities are from the teacher's, as Kullback-Leibler
    divergence (Hinton et al., arXiv:1503.02531); both arguments are scores, float32 [n, 1001].
    """  # noqa: D205 - one sentence
    ours, theirs = (functional.log_softmax(rows, dim=1) for rows in (scores, teachers))
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def code(ours: Any, theirs: Any) -> Any:
    """One minus the cosine between predicted and true codes of the teacher, [n, 160] both."""
    return 1 - functional.cosine_similarity(ours, theirs).mean()


def likeness(rows: Any, codes: Any, sharpness: Any, targets: Any, known: Any) -> Any:
    """Every picture's likeness to the others of the batch: as the teacher sees it, and the label.

    Each row of the cosines becomes a distribution over the other pictures (relational knowledge
    distillation: Park et al., arXiv:1904.05068; as divergence of softened rows: Tung & Mori,
    arXiv:1907.09682). Where others of the same class are there, a share of what is asked for goes
    to them alike (Khosla et al., arXiv:2004.11362).

    Args:
        rows: float32 [n, 512], the pupil's unit descriptors.
        codes: float32 [n, 160], the teacher's unit codes.
        sharpness: scalar, by which the pupil's cosines are multiplied; learned.
        targets: int64 [n].
        known: bool [n], which pictures have a label.
    """
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    theirs = (_TEACHERS_SHARPNESS * codes @ codes.T).masked_fill(itself, -1e4)
    wanted = functional.softmax(theirs, dim=1)
    same = (targets[:, None] == targets) & known[:, None] & known & ~itself
    count = same.sum(1, keepdim=True)
    share = _SAME_CLASS * (count > 0)
    wanted = (1 - share) * wanted + share * same / count.clamp(min=1)
    ours = functional.log_softmax((sharpness * rows @ rows.T).masked_fill(itself, -1e4), dim=1)
    return functional.kl_div(ours, wanted, reduction="batchmean")


def total(pupil: Any, maps: Any, taught: tuple[Any, Any], task: tuple[Any, Any, Any]) -> Any:
    """Weigh all parts.

    Args:
        pupil: see `network.pupil`.
        maps: [n, 512, h, w], what its features made of the views.
        taught: the teacher's code [n, 160] and class scores [n, 1001].
        task: class int64 [n], span int64 [n, 2], and whether it is known, bool [n].

    Returns:
        The loss to go down, and float32 [parts], its parts as in `SHARES`, detached.
    """
    rows = network.descriptors(maps)
    centred = pupil.neck(rows)
    codes, scores = taught
    targets, spans, known = task
    parts = [
        labels(pupil.labels(centred).float(), targets, spans, known),
        classes(pupil.classes(centred).float(), scores),
        code(pupil.code(centred).float(), codes),
        likeness(rows, codes, pupil.sharpness.exp(), targets, known),
    ]
    loss = sum(share * part for share, part in zip(SHARES.values(), parts, strict=True))
    return loss, torch.stack(parts).detach()
