"""A model's file in the form that its reader wants, written whole or not at all and never over another file."""

import json
from collections.abc import Mapping
from pathlib import Path

from fl.export import ExportError, read_model, with_notes
from node.disk import publish_file

FORMATS = ("safetensors", "onnx")


class ModelFileError(Exception):
    """A model's file that cannot be written or read as wanted. The text says why and what to do."""


def format_of(path: Path, asked: str | None = None) -> str:
    """The format that is asked for or that the name of the file says. Raises ModelFileError."""
    if asked is not None:
        return asked
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ModelFileError(f"{path}: ends in {path.suffix or 'nothing'}, want .safetensors or .onnx, or --format")
    return ending


def write_model(path: Path, exported: bytes, form: str, notes: Mapping[str, str] | None = None) -> None:
    """Write a model (`exported`: what `fl.export.export_model` made) to `path`, with `notes` added to its metadata.

    form: "safetensors" or "onnx"; ONNX imports torch and runs the file before it is written. Raises ModelFileError
    for a file that is there, a model that cannot be had in this form, and a disk that does not take it.
    """
    if path.exists():
        # Said before a minute of checking, and once more by the write itself.
        raise ModelFileError(f"{path}: there is a file already; it is left as it is")
    try:
        data = _as(form, exported, dict(notes or {}))
    except ExportError as error:
        raise ModelFileError(f"{path}: {error}") from None
    try:
        publish_file(path, data, replace=False)
    except FileExistsError:
        raise ModelFileError(f"{path}: there is a file already; it is left as it is") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None


def schema_notes(exported: bytes, schema_path: Path) -> dict[str, str]:
    """What a table's schema says of the inputs and the classes of this model. Raises ModelFileError."""
    from fl.data.errors import DataError
    from fl.data.tabular_schema import read_schema
    from fl.input_notes import input_notes
    from fl.models.errors import ModelError
    from fl.models.shapes import signature

    try:
        about = read_model(exported).metadata
        form = signature(about["model"], json.loads(about["arguments"]))
        if form is None:
            raise ModelFileError(f"model {about['model']!r}: its plug-in has no signature to hold a schema to")
        return input_notes(read_schema(schema_path), form)
    except (DataError, ModelError, ExportError) as error:
        raise ModelFileError(str(error)) from None
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"the exported file does not say which model it is of: {error!r}") from None


def _as(form: str, exported: bytes, notes: dict[str, str]) -> bytes:
    if form == "safetensors":
        return with_notes(exported, notes) if notes else exported
    from fl.onnx_export import onnx_of

    return onnx_of(read_model(exported), notes)
