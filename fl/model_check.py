"""Does a model do what a league asks of it? Every part is tried on drawn records, as a round would, and told about.

Nothing here is trained for its own sake and nothing is timed: what passes here can be published in a request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, UnusableTable
from fl.export import ExportError, export_model, read_model
from fl.fixed_point import HEAD, LIMIT, SCALE_BITS, NotEncodable, encode
from fl.models.errors import ModelError
from fl.models.registry import build
from fl.models.shapes import Shapes, Signature, parameter_shapes, signature
from fl.privacy.clipper_choice import clipper_for
from fl.privacy.clipping import CLIP_MARGIN, EachAlone
from fl.privacy.terms import PrivacyRefused
from fl.train import Diverged, LocalPlan, local_train
from fl.vectors import FlatModel, flatten_in_place, parameter_vector

# Enough for a short last batch, and for each record to be looked at alone.
RECORDS, BATCH, FREE_LENGTH = 20, 8, 12
# One record more or less in a batch moves a float32 sum by its last digits.
ALONE_TOLERANCE = 1e-4
CLIP_TOLERANCE = 1e-3
PASSED, NOTED, FAILED = "passed", "noted", "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict`: passed, noted (a league can live with it), or failed (no league can train it)."""

    part: str
    verdict: str
    said: str


class _Failed(Exception):
    """A part that no league could live with."""


def check_model(name: str, arguments: Mapping[str, str]) -> tuple[Finding, ...]:
    """All findings about a model that is known here; it ends at the first failure that makes the rest senseless."""
    found: list[Finding] = []
    try:
        for finding in _findings(name, arguments):
            found.append(finding)
    except (_Failed, ModelError) as failed:
        part = _PARTS[min(len(found), len(_PARTS) - 1)]
        found.append(Finding(part, FAILED, str(failed)))
    return tuple(found)


_PARTS = ("shapes", "seed", "answer", "alone", "gradient", "training", "clipping", "safetensors", "onnx")


def _findings(name: str, arguments: Mapping[str, str]) -> Iterator[Finding]:
    shapes = parameter_shapes(name, arguments)
    model = build(name, arguments, seed=1)
    count = sum(prod(shape) for _, shape in shapes)
    size = f"{len(shapes)} tensors, {count} parameters, {HEAD.size + 4 * count} bytes an update"
    yield Finding("shapes", PASSED, size)
    yield _seeded(name, arguments, model)
    form = signature(name, arguments)
    if form is None:
        raise _Failed("its plug-in has no signature(arguments): nobody knows what it is fed")
    records = drawn_records(form, RECORDS, seed=1)
    yield _answers(model, records, form)
    yield _alone(model, records)
    yield _gradient(model, records)
    yield _training(model, records)
    yield _clipping(build(name, arguments, seed=1), records)
    yield _safetensors(model, shapes)
    yield _onnx(model, form)


def drawn_records(form: Signature, count: int, seed: int) -> Records:
    """Records that fit a signature, labels of every class in turn."""
    draw = torch.Generator().manual_seed(seed)
    shape = (count, *(side or FREE_LENGTH for side in form.input_shape))
    features = torch.randint(form.classes, shape, generator=draw) if form.codes else torch.randn(shape, generator=draw)
    return Records(features, torch.arange(count) % form.classes)


def _seeded(name: str, arguments: Mapping[str, str], model: nn.Module) -> Finding:
    vector = parameter_vector(model)
    if not np.array_equal(vector, parameter_vector(build(name, arguments, seed=1))):
        raise _Failed("two models of one seed have other weights: draw them from torch's own generator only")
    try:
        encode(vector, SCALE_BITS, LIMIT)
    except NotEncodable as error:
        raise _Failed(f"its first weights fit no update: {error}") from None
    if np.array_equal(vector, parameter_vector(build(name, arguments, seed=2))):
        return Finding("seed", NOTED, "the weights are the same for every seed")
    return Finding("seed", PASSED, "one seed, one model, in range at the usual scale")


def _answers(model: nn.Module, records: Records, form: Signature) -> Finding:
    before = {name: value.clone() for name, value in model.named_buffers()}
    for count in (1, len(records)):
        try:
            logits = model(records.features[:count])
        except Exception as error:  # a third's code may raise anything
            raise _Failed(f"cannot take {count} records {_shape(records)}: {error!r}") from error
        want = (count, form.classes)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != want or logits.dtype != torch.float32:
            came = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise _Failed(f"answers {came} to {count} records, want float32 logits {list(want)}")
        if not bool(logits.isfinite().all()):
            raise _Failed("answers numbers that are not finite")
    changed = [name for name, value in model.named_buffers() if not torch.equal(value, before[name])]
    if changed:
        raise _Failed(f"buffer {changed[0]} changes while it answers: no update would carry it")
    return Finding("answer", PASSED, f"{_shape(records)} to {form.classes} logits, batches of 1 and {len(records)}")


def _alone(model: nn.Module, records: Records) -> Finding:
    training = model.training
    model.eval()
    with torch.no_grad():
        together = model(records.features)
        single = torch.cat([model(each) for each in torch.split(records.features, 1)])
    model.train(training)
    apart = float((together - single).abs().max() / together.abs().max().clamp(min=1.0))
    if not apart <= ALONE_TOLERANCE:
        raise _Failed(
            f"answers depend on the other records of a batch (by {apart:.1e} of the largest logit): a served model"
            " would change its mind, and no noise could cover one record"
        )
    return Finding("alone", PASSED, "a record's answer is the same alone and in a batch")


def _gradient(model: nn.Module, records: Records) -> Finding:
    model.zero_grad()
    cross_entropy(model(records.features), records.labels).backward()  # type: ignore[no-untyped-call]
    gradients = {name: value.grad for name, value in model.named_parameters()}
    without = [name for name, each in gradients.items() if each is None]
    if without:
        raise _Failed(f"no gradient reaches {without[0]}: it would travel for ever and never learn")
    wild = [name for name, each in gradients.items() if each is not None and not bool(each.isfinite().all())]
    if wild:
        raise _Failed(f"the gradient of {wild[0]} is not finite")
    still = [name for name, each in gradients.items() if each is not None and not bool(each.any())]
    if still:
        return Finding("gradient", NOTED, f"the gradient of {', '.join(still[:3])} is zero on {RECORDS} drawn records")
    return Finding("gradient", PASSED, "every parameter has one")


def _training(model: nn.Module, records: Records) -> Finding:
    plan = LocalPlan(epochs=2, batch=BATCH, lr=0.01, momentum=0.8, seed=3)
    vector = parameter_vector(model)
    try:
        result = local_train(model, vector, records, plan)
        again = local_train(model, vector, records, plan)
    except (Diverged, UnusableTable) as error:
        raise _Failed(str(error)) from error
    if not np.array_equal(result.vector, again.vector):
        return Finding("training", NOTED, "two rounds of one seed differ: a provider could not show its work again")
    return Finding("training", PASSED, f"{result.steps} steps, the same twice; loss {result.losses[0]:.3g} at first")


def _clipping(model: nn.Module, records: Records) -> Finding:
    """Mode sound clips every record's gradient: its way is held to one backward pass a record."""
    flat = flatten_in_place(model)
    inputs, labels = records.features[:BATCH], records.labels[:BATCH]
    rows = [_record_gradient(flat, inputs[i : i + 1], labels[i : i + 1]) for i in range(BATCH)]
    clip = float(torch.stack([row.norm() for row in rows]).median())
    if not clip:
        return Finding("clipping", NOTED, "not tried: the gradients of most drawn records are zero")
    want = torch.stack([row * min(1.0, clip * CLIP_MARGIN / float(row.norm())) for row in rows if row.any()]).sum(0)
    flat.gradients.zero_()
    try:
        clipper = clipper_for(flat)
        got = clipper.of_records(inputs, labels, clip).total
    except PrivacyRefused as error:
        return Finding("clipping", NOTED, f"modes sound and distributed refuse it: {error}")
    except Exception as error:  # vmap names what it cannot do in many ways
        return Finding("clipping", NOTED, f"modes sound and distributed cannot train it: {str(error)[:160]!r}")
    apart = float((got - want).norm() / want.norm())
    if not apart <= CLIP_TOLERANCE:
        if _draws(model, inputs):
            return Finding("clipping", NOTED, "not compared: the model draws while it trains (dropout)")
        raise _Failed(f"clipped gradients differ by {apart:.1e} from one backward pass a record")
    slow = isinstance(clipper, EachAlone)
    way = "one record at a time: several times slower" if slow else "by hand, as fast as it gets"
    return Finding("clipping", PASSED, f"in mode sound {way}")


def _record_gradient(flat: FlatModel, inputs: Tensor, labels: Tensor) -> Tensor:
    flat.gradients.zero_()
    cross_entropy(flat.model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return flat.gradients.clone()


def _draws(model: nn.Module, inputs: Tensor) -> bool:
    """Whether two answers to one batch differ while it trains, as dropout makes them."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        first = model(inputs)
        torch.manual_seed(2)
        return not torch.equal(first, model(inputs))


def _safetensors(model: nn.Module, shapes: Shapes) -> Finding:
    encoded = encode(parameter_vector(model), SCALE_BITS, LIMIT)
    written = export_model(encoded, SCALE_BITS, shapes, {})
    if not read_model(written).matches(encoded):
        raise _Failed("its tensors do not come back from a safetensors file")
    return Finding("safetensors", PASSED, f"{len(written)} bytes, the same model when read")


def _onnx(model: nn.Module, form: Signature) -> Finding:
    from fl.onnx_export import MISSING, checked_onnx

    try:
        checked = checked_onnx(model, form, {})
    except ExportError as error:
        return Finding("onnx", NOTED, "not tried: " + MISSING if str(error) == MISSING else str(error))
    told = f"{len(checked.data)} bytes, {checked.probes} batches in onnxruntime, at most {checked.difference:.0e} apart"
    return Finding("onnx", PASSED, told)


def _shape(records: Records) -> str:
    kind = str(records.features.dtype).removeprefix("torch.")
    return f"{kind} {list(records.features.shape[1:])}"
