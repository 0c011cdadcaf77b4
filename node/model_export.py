"""The shelf of finished models in the data directory: `safetensors` files for people to use, and a note beside each.

`models/<request>.safetensors` is the global model, `<request>.served.safetensors` the one that this factory itself
uses, `<request>.json` says what they are and comes last: a request without a note is not finished with. No torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fl.export import export_model
from fl.fixed_point import encode, limit_in_steps, unpack
from fl.models.shapes import parameter_shapes
from fl.strategies.base import Layout
from ledger.entries import Request
from node.disk import publish_file
from node.rounds import settings_dict
from node.worker_protocol import ModelServed, Score


class ModelShelf:
    """One folder; its methods block on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, request_id: bytes) -> bool:
        """Whether nothing is left to do for this request."""
        return self.note_path(request_id).exists()

    def note_path(self, request_id: bytes) -> Path:
        return self.folder / f"{request_id.hex()}.json"

    def model_path(self, request_id: bytes) -> Path:
        return self.folder / f"{request_id.hex()}.safetensors"

    def served_path(self, request_id: bytes) -> Path:
        return self.folder / f"{request_id.hex()}.served.safetensors"

    def note(self, request_id: bytes) -> dict[str, Any] | None:
        """What the shelf says of a request; None when it is not finished with."""
        try:
            note: dict[str, Any] = json.loads(self.note_path(request_id).read_text())
        except FileNotFoundError:
            return None
        return note

    def keep(
        self, request_id: bytes, request: Request, model: bytes, score: Score | None, served: ModelServed | None
    ) -> None:
        """Write the final model, the served one when there is one, and then the note. `score`: of the final model.

        Raises OSError for a full disk; then there is no note and `keep` is to be called again.
        """
        terms = request.terms
        shapes = parameter_shapes(terms.model, settings_dict(terms.model_arguments))
        limit_q = limit_in_steps(terms.limit, terms.scale_bits)
        # What a strategy carries behind the model is of no use to who uses it.
        vector = unpack(model, terms.parameters, terms.scale_bits, limit_q)[: Layout(shapes).count]
        about = {
            "digest": request.model.hex(),
            "request": request_id.hex(),
            "round": str(request.model_round),
            "model": terms.model,
            "arguments": json.dumps(settings_dict(terms.model_arguments), sort_keys=True),
        }
        publish_file(self.model_path(request_id), export_model(vector, terms.scale_bits, shapes, about))
        note = _note(request_id, request) | {
            "file": self.model_path(request_id).name,
            "own_test": None if score is None else score_view(score),
        }
        if served is not None:
            own = encode(np.frombuffer(served.vector, "<f4"), terms.scale_bits, terms.limit)
            exported = export_model(own, terms.scale_bits, shapes, about | {"served": "true"})
            publish_file(self.served_path(request_id), exported, mode=0o600)
            note["served"] = {
                "file": self.served_path(request_id).name,
                "own_share": served.own_share,
                "own_test": None if served.score is None else score_view(served.score),
            }
        self._write_note(request_id, note)

    def note_end(self, request_id: bytes, request: Request, problem: str) -> None:
        """A request that ended without a model, or (`problem`) with one that cannot be written out here."""
        note = _note(request_id, request)
        self._write_note(request_id, note | {"problem": problem} if problem else note)

    def _write_note(self, request_id: bytes, note: Mapping[str, Any]) -> None:
        publish_file(self.note_path(request_id), json.dumps(note, indent=2).encode() + b"\n")


def score_view(score: Score) -> dict[str, Any]:
    """A score as JSON: ratios and loss in millionths."""
    return {
        "records": score.records,
        "correct": score.correct,
        "accuracy_micro": score.accuracy,
        "loss_micro": score.loss,
        "macro_f1_micro": score.macro_f1,
        "confusion": list(score.confusion),
    }


def _note(request_id: bytes, request: Request) -> dict[str, Any]:
    return {
        "request": request_id.hex(),
        "title": request.terms.title,
        "stage": request.stage.name.lower(),
        "outcome": request.outcome,
        "digest": request.model.hex(),
        "round": request.model_round,
        "judged_digest": request.judged_model.hex(),
        "judged_round": request.judged_round,
        "judged_accuracy_micro": request.accuracy,
        "model": request.terms.model,
        "arguments": settings_dict(request.terms.model_arguments),
    }
