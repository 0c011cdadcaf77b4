"""Which way to clipped sums is taken for a model, and which models are refused: those whose records meet.

By hand for a plain perceptron and by book-keeping for networks of known layers (book_keeping.py); one record at a time
under vmap for every other model (per_example.py): there no record can see another, whatever a plug-in does.
"""

from torch import nn

from fl.privacy.book_keeping import books_for
from fl.privacy.clipping import Clipper, EachAlone
from fl.privacy.terms import PrivacyRefused
from fl.vectors import FlatModel


def clipper_for(flat: FlatModel) -> Clipper:
    """The fastest exact way for this model. Raises PrivacyRefused for a layer that mixes records."""
    refuse_mixing_layers(flat.model)
    return books_for(flat) or EachAlone(flat)


def refuse_mixing_layers(model: nn.Module) -> None:
    """Raises PrivacyRefused naming the first layer through which one record changes what another one's gradient is.

    Also for a parameter that is not to be trained: noise, which falls on all of them, would move it.
    """
    frozen = next((name for name, each in model.named_parameters() if not each.requires_grad), None)
    if frozen is not None:
        raise PrivacyRefused(f"parameter {frozen} is frozen, and noise would move it: want all of them trained")
    for name, layer in model.named_modules():
        reason = _mixing(layer)
        if reason is not None:
            raise PrivacyRefused(f"layer {name or 'model'} is {type(layer).__name__}: {reason}")


def _mixing(layer: nn.Module) -> str | None:
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return "it mixes the records of a batch, so no record's share can be bounded; GroupNorm or LayerNorm do not"
    if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats:
        return "it keeps statistics of all records, which no noise covers; track_running_stats=False does not"
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.scale_grad_by_freq:
        return "scale_grad_by_freq divides by how often a code occurs among all records of a batch"
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
        return "max_norm changes weights by the records that are looked at, which no noise covers"
    return None
