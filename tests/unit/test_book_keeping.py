"""Clipped sums against a plain loop over records in float64: every layer, every way, groups, and damaged records."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fl.batches import Records
from fl.models.registry import build
from fl.privacy.book_keeping import BookKeeping, DenseBooks, can_keep_books
from fl.privacy.clipper_choice import clipper_for
from fl.privacy.clipping import CLIP_MARGIN, EachAlone
from fl.privacy.recorded_layers import AffinePart
from fl.privacy.terms import PrivacyRefused
from fl.vectors import flatten_in_place

# As the trainer does: torch's second thread only waits.
torch.set_num_threads(1)


class Repeated(nn.Module):
    """A plug-in's own forward pass: never trusted, so every record goes through it alone."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.again(x))
        return self.last(self.first(x)) + x.mean(0)[:3]


def twice_the_same():
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.ReLU(inplace=True), nn.Linear(6, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 2, padding="same", bias=False),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(5),
        nn.Linear(5, 3),
    )


def over_time():
    shared = nn.Conv1d(2, 2, 3, padding="same", dilation=2)
    return nn.Sequential(
        shared, nn.Tanh(), shared, nn.LayerNorm(9), nn.Conv1d(2, 8, 4, stride=2), nn.Flatten(1), nn.Linear(24, 3)
    )


def words():
    return nn.Sequential(
        nn.Embedding(7, 5, padding_idx=0), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)
    )


def many_patches():
    """More numbers a matrix than pairs of places, so that norms come from pairs."""
    return nn.Sequential(nn.Conv1d(8, 40, 4, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(80, 3))


MODELS = {
    "mlp": (lambda: build("mlp", {"layers": "8,6,5,4"}, 1), (8,), None, DenseBooks),
    "cnn": (lambda: build("cnn", {"input": "1x28x28", "classes": "4"}, 1), (1, 28, 28), None, BookKeeping),
    "cnn1d": (
        lambda: build("cnn1d", {"channels": "2", "length": "256", "classes": "4"}, 1),
        (2, 256),
        None,
        BookKeeping,
    ),
    "lstm": (lambda: build("char-lstm", {"vocabulary": "7", "hidden": "6", "layers": "2"}, 1), (9,), 7, BookKeeping),
    "lstm-all": (
        lambda: build("char-lstm", {"vocabulary": "7", "hidden": "30", "predict": "all"}, 1),
        (9,),
        7,
        BookKeeping,
    ),
    "repeated": (twice_the_same, (6,), None, BookKeeping),
    "convolutions": (convolutions, (2, 8, 9), None, BookKeeping),
    "over-time": (over_time, (2, 9), None, BookKeeping),
    "words": (words, (9,), 7, BookKeeping),
    "many-patches": (many_patches, (8, 9), None, BookKeeping),
    "grouped-conv": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(28, 3)),
        (2, 9),
        None,
        EachAlone,
    ),
}


def batch_of(name, records=6):
    make, shape, codes, kind = MODELS[name]
    torch.manual_seed(3)
    flat = flatten_in_place(make())
    rng = np.random.default_rng(5)
    if codes is None:
        inputs = torch.from_numpy(rng.normal(size=(records, *shape)).astype(np.float32))
    else:
        inputs = torch.from_numpy(rng.integers(0, codes, (records, *shape)))
    labels = rng.integers(0, 3, (records, 9) if name == "lstm-all" else records)
    return flat, inputs, torch.from_numpy(labels), kind


def naive(model, inputs, labels):
    """float64 [records, n]: the gradient of each record's own loss, one backward pass each."""
    exact = copy.deepcopy(model).double()
    rows = []
    for x, y in zip(inputs, labels, strict=True):
        exact.zero_grad()
        cross_entropy(exact(x[None].double() if x.is_floating_point() else x[None]), y[None]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in exact.parameters()]))
    return torch.stack(rows)


def clipped(each, clip):
    return each * (clip * CLIP_MARGIN / each.norm(dim=1, keepdim=True)).clamp(max=1)


def close(got, want):
    return float((got.double() - want).norm()) <= 1e-6 * max(1.0, float(want.norm()))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MODELS)
def test_books_agree_with_a_loop_over_the_records(name):
    flat, inputs, labels, kind = batch_of(name)
    want = naive(flat.model, inputs, labels)
    clip = float(want.norm(dim=1).median())
    clipper = clipper_for(flat)
    assert type(clipper) is kind
    got = clipper.of_records(inputs, labels, clip)
    assert (got.norms.double() / want.norm(dim=1) - 1).abs().max() < 2e-6
    assert close(got.total, clipped(want, clip).sum(0))
    assert got.records == 6
    # Once more: nothing is left behind by the first time, and the model itself was not changed.
    assert torch.equal(clipper.of_records(inputs, labels, clip).total, got.total)
    assert not any(module._forward_hooks or "forward" in vars(module) for module in flat.model.modules())
    with torch.no_grad():
        assert torch.allclose(got.total, EachAlone(flat).of_records(inputs, labels, clip).total, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", MODELS)
def test_an_empty_batch_is_a_zero_sum(name):
    flat, inputs, labels, _ = batch_of(name)
    got = clipper_for(flat).of_records(inputs[:0], labels[:0], 1.0)
    assert not got.total.any()
    assert (len(got.norms), got.loss_sum, got.records) == (0, 0.0, 0)


@pytest.mark.parametrize("name", ["mlp", "cnn1d", "lstm", "grouped-conv"])
def test_groups_are_clipped_as_a_whole(name):
    flat, inputs, labels, _ = batch_of(name, records=7)
    each = naive(flat.model, inputs, labels)
    rows = [torch.tensor([0, 3, 5]), torch.tensor([1]), torch.tensor([2, 4])]
    whole = torch.stack([each[group].sum(0) for group in rows])
    clip = float(whole.norm(dim=1).median())
    got = clipper_for(flat).of_groups(Records(inputs, labels), rows, clip)
    assert (got.norms.double() / whole.norm(dim=1) - 1).abs().max() < 2e-6
    assert close(got.total, clipped(whole, clip).sum(0))
    assert got.records == 6


@pytest.mark.parametrize("name", ["mlp", "cnn", "grouped-conv"])
def test_a_record_that_is_not_finite_counts_for_nothing(name):
    """It must not stop the round: that it stopped would show that the record is there."""
    flat, inputs, labels, _ = batch_of(name)
    rest = [0, 1, 3, 4, 5]
    want = clipper_for(flat).of_records(inputs[rest], labels[rest], 0.5)
    inputs[2].fill_(float("inf"))
    got = clipper_for(flat).of_records(inputs, labels, 0.5)
    assert torch.allclose(got.total, want.total, atol=1e-6)
    assert torch.isinf(got.norms[2])
    assert not clipper_for(flat).of_groups(Records(inputs, labels), [torch.tensor([2, 3])], 0.5).total.any()


def test_a_forward_pass_of_somebody_elses_sees_one_record_at_a_time():
    """It adds the mean over its batch: book-keeping would bound nothing, alone in its batch every record is bounded."""
    torch.manual_seed(1)
    flat = flatten_in_place(Repeated())
    assert not can_keep_books(flat.model)
    inputs, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    got = clipper_for(flat).of_records(inputs, labels, 0.3)
    assert close(got.total, clipped(naive(flat.model, inputs, labels), 0.3).sum(0))


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm1d(6, track_running_stats=False), "BatchNorm1d: it mixes the records"),
        (nn.SyncBatchNorm(6, track_running_stats=False), "SyncBatchNorm"),
        (nn.Embedding(6, 6, scale_grad_by_freq=True), "scale_grad_by_freq"),
        (nn.Embedding(6, 6, max_norm=1.0), "max_norm"),
        (nn.InstanceNorm1d(6, track_running_stats=True), "InstanceNorm1d"),
    ],
)
def test_layers_through_which_records_meet_are_refused_by_name(layer, named):
    from fl.privacy.clipper_choice import refuse_mixing_layers

    with pytest.raises(PrivacyRefused, match=named) as refusal:
        refuse_mixing_layers(nn.Sequential(nn.Linear(6, 6), layer))
    assert str(refusal.value).startswith("layer 1 is ")


@pytest.mark.parametrize("name", ["cnn", "cnn1d", "lstm", "lstm-all", "many-patches", "over-time", "words"])
def test_what_cancels_out_over_time_stays_within_the_norm(name):
    """Signals that swing far to both sides: the terms of a gradient are long, their sum is short or all rounding."""
    flat, inputs, labels, _ = batch_of(name, records=40)
    generator = torch.Generator().manual_seed(6)
    if inputs.is_floating_point():
        swing = torch.tensor([1.0, -1.0]).repeat(inputs.shape[-1])[: inputs.shape[-1]]
        inputs = swing * 10.0 ** (8 * torch.rand(40, *[1] * (inputs.ndim - 1), generator=generator)) + inputs
    else:
        inputs = torch.randint(0, 2, inputs.shape, generator=generator)
    for scale in (1.0, 30.0):
        flat.values.mul_(scale)
        clipper = clipper_for(flat)
        for clip in (1e-3, 1.0, 1e4):
            for one in range(40):
                got = clipper.of_records(inputs[one : one + 1], labels[one : one + 1], clip)
                assert float(got.total.double().norm()) <= clip


def test_the_norm_of_terms_that_cancel_out_is_never_told_too_short():
    generator = torch.Generator().manual_seed(7)
    for pairs in (False, True):
        width, times = (64, 6) if pairs else (3, 40)
        signs = torch.tensor([1.0, -1.0]).repeat(times // 2)[None, :, None]
        inputs = signs * torch.rand(50, 1, width, generator=generator) * 1e4
        inputs = (
            inputs
            + torch.randn(50, times, width, generator=generator) * 10.0 ** torch.linspace(-4, 4, 50)[:, None, None]
        )
        back = torch.randn(50, 1, width, generator=generator).expand(50, times, width).contiguous()
        part = AffinePart(inputs, back, bias=False)
        told = part.squared_norms().sqrt().double()
        true = torch.einsum("bto,bti->boi", back.double(), inputs.double()).flatten(1).norm(dim=1)
        assert bool((told >= true * CLIP_MARGIN).all())
        for one in range(50):
            weight = torch.zeros(width, width)
            part.add_weighted(torch.eye(50)[one], [weight])
            assert float(weight.double().norm()) * CLIP_MARGIN <= float(told[one])


@pytest.mark.parametrize("books", [DenseBooks, BookKeeping])
def test_a_length_whose_square_is_no_number_any_more_still_counts(books):
    """A first model made to spy: activations of 1e18 and output gradients of 1e-23, whose product is far above C."""
    model = build("mlp", {"layers": "4,2,2"}, 0)
    flat = flatten_in_place(model)
    with torch.no_grad():
        flat.values.zero_()
        model.layers[0].bias.fill_(1e18)
        model.layers[1].bias[0] = 52.0
    clipper = DenseBooks(flat, list(model.layers)) if books is DenseBooks else BookKeeping(flat)
    for clip in (1e-6, 1e-3, 1.0):
        got = clipper.of_records(torch.rand(1, 4), torch.zeros(1, dtype=torch.long), clip)
        assert 0.0 < float(got.total.double().norm()) <= clip


def test_a_frozen_parameter_is_refused_for_noise_would_move_it():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    with pytest.raises(PrivacyRefused, match=r"parameter 0\.weight is frozen"):
        clipper_for(flatten_in_place(model))


def test_shared_parameters_and_hooks_are_left_to_the_slow_way():
    tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    tied[1].weight = tied[0].weight
    assert not can_keep_books(tied)
    listened = nn.Sequential(nn.Linear(6, 6))
    listened[0].register_forward_hook(lambda *_: None)
    assert not can_keep_books(listened)
    assert not can_keep_books(nn.Sequential(nn.Flatten(0), nn.Linear(6, 6)))


def test_the_lstm_by_hand_is_torchs():
    from fl.privacy import hand_lstm

    torch.manual_seed(2)
    lstm, x = nn.LSTM(5, 7, 3, batch_first=True), torch.randn(4, 9, 5)
    want, (state, cell) = lstm(x)
    got, (got_state, got_cell) = hand_lstm.run(lstm, x, lambda *_: None)
    for one, other in ((got, want), (got_state, state), (got_cell, cell)):
        assert torch.allclose(one, other, atol=1e-6)
