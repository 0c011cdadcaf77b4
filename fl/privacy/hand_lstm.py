"""An LSTM written out by hand over the parameters of an nn.LSTM: torch's own does not show what its gates get back.

The equations and the order of the gates (in, forget, cell, out) are torch's; so are the results, to rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

Gates = Callable[[Tensor, Tensor, Tensor], None]
"""Called for every layer with its inputs [records, times, in], the states before each time, and the gates' inputs, the
tensor whose gradient is wanted; times lie first in the last two: [times, records, n]."""


def supported(lstm: nn.LSTM) -> bool:
    """Whether `run` gives what the layer would: one direction, no projection, nothing dropped between layers."""
    return not (lstm.bidirectional or lstm.proj_size or (lstm.dropout and lstm.num_layers > 1))


def run(lstm: nn.LSTM, inputs: Tensor, tell: Gates) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What `lstm(inputs)` returns, for batches from the zero state."""
    states = inputs.transpose(0, 1) if lstm.batch_first else inputs
    last, cells = [], []
    for layer in range(lstm.num_layers):
        weight_in, weight_state = getattr(lstm, f"weight_ih_l{layer}"), getattr(lstm, f"weight_hh_l{layer}")
        bias = None
        if lstm.bias:
            bias = (getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")).detach()
        gates = linear(states, weight_in.detach(), bias)
        if not gates.requires_grad:
            gates.requires_grad_()
        below = states
        states, cell = _Recurrence.apply(gates, weight_state.detach())  # type: ignore[no-untyped-call]
        before = torch.cat((torch.zeros_like(states[:1]), states[:-1])).detach()
        tell(below.detach().transpose(0, 1), before, gates)
        last.append(states[-1])
        cells.append(cell)
    output = states.transpose(0, 1) if lstm.batch_first else states
    return output, (torch.stack(last), torch.stack(cells))


class _Recurrence(torch.autograd.Function):
    """(gates' inputs [times, records, 4 n], weight [4 n, n]) -> (states [times, records, n], the last cell).

    The last cell carries no gradient: `run` is for models that use the states, and says so by detaching it.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        times, records, width = gates.shape
        n = width // 4
        turned = weight.t()
        opened = torch.empty_like(gates)
        cells = gates.new_zeros(times + 1, records, n)
        curved = gates.new_empty(times, records, n)
        states = gates.new_empty(times, records, n)
        state = gates.new_zeros(records, n)
        for t in range(times):
            gate = torch.addmm(gates[t], state, turned, out=opened[t])
            gate[:, : 2 * n].sigmoid_()
            gate[:, 2 * n : 3 * n].tanh_()
            gate[:, 3 * n :].sigmoid_()
            torch.mul(gate[:, n : 2 * n], cells[t], out=cells[t + 1])
            cells[t + 1].addcmul_(gate[:, :n], gate[:, 2 * n : 3 * n])
            torch.tanh(cells[t + 1], out=curved[t])
            state = torch.mul(gate[:, 3 * n :], curved[t], out=states[t])
        ctx.save_for_backward(opened, cells, curved, weight)
        last = cells[-1].clone()
        ctx.mark_non_differentiable(last)
        return states, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, back: Tensor, _: Tensor) -> tuple[Tensor, None]:
        opened, cells, curved, weight = ctx.saved_tensors
        times, records, width = opened.shape
        n = width // 4
        enter, forget, cell, leave = opened.split(n, dim=2)
        # The slope of every gate at once, for all times: what is left for the loop are products with it.
        slopes = opened.new_empty(times, records, 4, n)
        torch.mul(cell, enter * (1 - enter), out=slopes[:, :, 0])
        torch.mul(cells[:-1], forget * (1 - forget), out=slopes[:, :, 1])
        torch.mul(enter, 1 - cell * cell, out=slopes[:, :, 2])
        torch.mul(curved, leave * (1 - leave), out=slopes[:, :, 3])
        through = leave * (1 - curved * curved)
        result = torch.empty_like(opened)
        parts = result.view(times, records, 4, n)
        state_back = opened.new_zeros(records, n)
        cell_back = opened.new_zeros(records, n)
        for t in range(times - 1, -1, -1):
            state_back.add_(back[t])
            cell_back.addcmul_(state_back, through[t])
            torch.mul(cell_back.unsqueeze(1), slopes[t, :, :3], out=parts[t, :, :3])
            torch.mul(state_back, slopes[t, :, 3], out=parts[t, :, 3])
            cell_back.mul_(forget[t])
            torch.mm(result[t], weight, out=state_back)
        return result, None
