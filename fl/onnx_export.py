"""A trained model as an ONNX file that other programs run, written only when onnxruntime agrees with torch about it.

Input `records` [batch, ...], float32 or int64 codes, output `logits`; the batch and free lengths are dynamic. No disk.
torch's tracing exporter is tried first (small files, every torch we support); what it cannot write, or writes
wrongly because a network decides by its input, is tried again by the exporter that reads the network's code.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.evaluate import set_parameters
from fl.export import ExportedModel, ExportError
from fl.models.errors import ModelError
from fl.models.registry import build
from fl.models.shapes import parameter_shapes, signature
from fl.models.signature import Signature

INPUT, OUTPUT = "records", "logits"
# Float32 sums in another order differ in the last digits: 6e-8 of the largest logit was seen, 1e-4 is a wrong layer.
TOLERANCE = 1e-4
BATCHES = (1, 2, 33)
# In place of a free length. Not those of the example that the exporter is shown.
LENGTHS = (1, 5, 48)
EXAMPLE_BATCH, EXAMPLE_LENGTH = 3, 12
MISSING = "ONNX needs onnx, onnxruntime and onnxscript, which are not installed: pip install 'hanse[onnx]'"

Probe = tuple[str, Tensor]


@dataclass(frozen=True, slots=True)
class CheckedOnnx:
    """`data`: the file. `probes`: on how many batches it was run; `difference`: the largest there, relative."""

    data: bytes
    probes: int
    difference: float


def onnx_of(exported: ExportedModel, more: Mapping[str, str] | None = None) -> bytes:
    """The ONNX file of an exported model, its metadata kept and `more` added.

    Raises ExportError when the model is not known here, its plug-in does not say what it is fed, the packages of the
    extra `onnx` are missing, or the file would not answer what torch answers.
    """
    name, arguments = _about(exported)
    try:
        shapes, form = parameter_shapes(name, arguments), signature(name, arguments)
        model = build(name, arguments, seed=0)
    except ModelError as error:
        raise ExportError(f"the exported model cannot be built here: {error}") from None
    held = tuple((label, tuple(tensor.shape)) for label, tensor in exported.tensors.items())
    if held != shapes:
        raise ExportError(f"the file's tensors are not those of model {name!r}: {held[:2]} ..., want {shapes[:2]} ...")
    if form is None:
        raise ExportError(f"model {name!r}: its plug-in has no signature, so nobody knows what it is fed")
    set_parameters(model, exported.vector)
    return checked_onnx(model, form, {**exported.metadata, **(more or {})}).data


def checked_onnx(model: nn.Module, form: Signature, metadata: Mapping[str, str]) -> CheckedOnnx:
    """The file of a network, run against it. Raises ExportError."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise ExportError(MISSING) from None
    training = model.training
    model.eval()
    problems = []
    try:
        for way, write in (("traced", _traced), ("read", _read)):
            try:
                plain = _quietly(write, model, form)
                probes, difference = _difference(plain, model, form)
            except ExportError as error:
                problems.append(f"{way}: {error}")
                continue
            told = f"onnxruntime {onnxruntime.__version__}, {probes} batches, largest difference {difference:.1e}"
            data = _with_metadata(plain, {**metadata, **_told(form), "checked": told})
            return CheckedOnnx(data, probes, difference)
    finally:
        model.train(training)
    raise ExportError(f"no ONNX file answers what the model answers; {'; '.join(problems)}")


def _about(exported: ExportedModel) -> tuple[str, dict[str, str]]:
    try:
        arguments = json.loads(exported.metadata["arguments"])
        return exported.metadata["model"], {str(name): str(text) for name, text in arguments.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise ExportError(f"the file does not say which model it is of: {error!r}") from None


def _told(form: Signature) -> dict[str, str]:
    shape = ["batch", *("any" if side is None else side for side in form.input_shape)]
    return {"input": json.dumps([INPUT, "int64" if form.codes else "float32", shape]), "answers": str(form.classes)}


def _quietly(write: Callable[[nn.Module, Signature], bytes], model: nn.Module, form: Signature) -> bytes:
    """The exporters warn of what the check finds out anyway, and raise whatever their insides raise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return write(model, form)
    except Exception as error:
        raise ExportError(f"torch cannot write it: {_reason(error)}") from error
    finally:
        logging.disable(disabled)


def _reason(error: BaseException) -> str:
    """What was wrong first, in a line: the exporters wrap it in advice of many."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or repr(error)).splitlines()[0][:200]


def _example(form: Signature) -> Tensor:
    return _drawn(form, EXAMPLE_BATCH, EXAMPLE_LENGTH, torch.Generator().manual_seed(0))


def _traced(model: nn.Module, form: Signature) -> bytes:
    free = {0: "batch"} | {i + 1: f"length_{i}" for i, side in enumerate(form.input_shape) if side is None}
    # The tracing exporter writes to anything with write(); the signature names paths only.
    file: Any = io.BytesIO()
    torch.onnx.export(
        model,
        (_example(form),),
        file,
        dynamo=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: free, OUTPUT: {0: "batch"}},
    )
    written: bytes = file.getvalue()
    return written


def _read(model: nn.Module, form: Signature) -> bytes:
    automatic = torch.export.Dim.AUTO
    free: dict[int, Any] = {0: automatic}
    free |= {i + 1: automatic for i, side in enumerate(form.input_shape) if side is None}
    program = torch.onnx.export(
        model,
        (_example(form),),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=(free,),
    )
    assert program is not None, "without a file the program is the answer"
    data: bytes = program.model_proto.SerializeToString()
    return data


def _difference(data: bytes, model: nn.Module, form: Signature) -> tuple[int, float]:
    """(batches, largest difference) of onnxruntime and torch, relative to a batch's largest logit or 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library has no common class of its own
        raise ExportError(f"onnxruntime does not load it: {str(error)[:200]}") from error
    count, worst = 0, 0.0
    for what, records in _probes(form):
        with torch.no_grad():
            want = model(records).numpy()
        try:
            (got,) = session.run([OUTPUT], {INPUT: records.numpy()})
        except Exception as error:
            raise ExportError(f"onnxruntime stops at {what}: {str(error)[:200]}") from error
        worst = max(worst, _apart(got, want, what))
        count += 1
    return count, worst


def _apart(got: NDArray[Any], want: NDArray[np.float32], what: str) -> float:
    if got.dtype != want.dtype or got.shape != want.shape:
        raise ExportError(f"{what}: answers {got.dtype}{list(got.shape)}, torch {want.dtype}{list(want.shape)}")
    if not np.isfinite(want).all():
        raise ExportError(f"{what}: torch's own answer is not finite")
    apart = float(np.abs(got.astype(np.float64) - want).max() / max(1.0, float(np.abs(want).max())))
    # Not a number is not less, so it is refused.
    if not apart <= TOLERANCE:
        raise ExportError(f"{what}: answers differ by {apart:.1e} of the largest logit, want at most {TOLERANCE:g}")
    return apart


def _probes(form: Signature) -> Iterator[Probe]:
    draw = torch.Generator().manual_seed(1)
    lengths = LENGTHS if None in form.input_shape else LENGTHS[:1]
    for batch in BATCHES:
        for length in lengths:
            yield f"{batch} random records of length {length}", _drawn(form, batch, length, draw)
    one = _drawn(form, 2, LENGTHS[1], draw)
    if form.codes:
        yield "the first code only", torch.zeros_like(one)
        yield "the last code only", torch.full_like(one, form.classes - 1)
        return
    yield "zeros", torch.zeros_like(one)
    yield "ones", torch.ones_like(one)
    yield "minus ones", -torch.ones_like(one)
    yield "records a thousand times as large", one * 1e3
    yield "records a millionth as large", one * 1e-6


def _drawn(form: Signature, batch: int, length: int, draw: torch.Generator) -> Tensor:
    shape = (batch, *(side or length for side in form.input_shape))
    if form.codes:
        return torch.randint(form.classes, shape, generator=draw)
    return torch.randn(shape, generator=draw)


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name = "hanse"
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ExportError(f"no valid ONNX: {str(error)[:200]}") from error
    written: bytes = model.SerializeToString()
    return written
