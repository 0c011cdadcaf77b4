"""FedOBD: upload the most changed blocks, rounded (Chen et al., IJCAI 2023, arXiv 2208.05174; [ENN] runs it in plants).

A factory trains from the global model and sends only the semantic blocks that changed most, their changes rounded to
as many levels as they deserve; of a block that it leaves out, the global one counts in its place. In the second stage
nothing is left out and every epoch is followed by an aggregation. The global model travels whole: it is what members
judge and sign, so the paper's rounding on the way down is not done.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from fl.delta_blob import BLOCKS_MAX, Block
from fl.fixed_point import Ints
from fl.rounding import levels, levels_of_bits, rounded_block
from fl.semantic_blocks import most_changed, semantic_blocks
from fl.settings import Number, Whole, parse_settings
from fl.strategies.base import Start, StrategyError, View
from fl.strategies.fedavg import FedAvg, FedAvgSettings


@dataclass(frozen=True, slots=True)
class FedObdSettings(FedAvgSettings):
    drop: Annotated[float, Number(0.0, 0.99, "share of the model that a factory does not send")] = 0.3
    bits: Annotated[int, Whole(0, 16, "of each change that is sent, at least 2; 0: as many as weight makes of it")] = 0
    weight: Annotated[float, Number(1e-6, 10.0, "NNADQ's weight of bytes against exactness")] = 0.001
    largest: Annotated[float, Number(0.01, 1.0, "share of the model in a block; larger layers are cut by units")] = 0.1
    second_stage: Annotated[int, Whole(0, 1_000_000, "round from which all is sent, but in mode paper; 0: never")] = 0


class FedObd(FedAvg):
    name = "fedobd"
    summary = "train from the global model, upload only the most changed blocks of the model, rounded"
    sends_changes = True

    def __init__(self, settings: FedObdSettings) -> None:
        super().__init__(settings)
        self.obd = settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        parsed = parse_settings(FedObdSettings, "strategy fedobd", settings, StrategyError)
        if parsed.bits == 1:
            raise StrategyError("strategy fedobd: bits is '1', want 0 or 2 to 16: one bit has no sign")
        return cls(parsed)

    def begin(self, view: View) -> Start:
        start = super().begin(view)
        # The paper's second stage is one round whose every epoch is aggregated.
        return replace(start, epochs_max=1) if self._in_second_stage(view) else start

    def changes(self, view: View, base: Ints, update: Ints, scale_bits: int, limit_q: int) -> tuple[Block, ...] | None:
        blocks = semantic_blocks(view.layout.shapes, self.obd.largest)
        if not self._in_second_stage(view):
            blocks = most_changed(blocks, base, update, self.obd.drop)
        runs = sorted(run for block in blocks for run in block.runs)
        if len(runs) > BLOCKS_MAX:
            raise StrategyError(
                f"strategy fedobd: the model has {len(runs)} runs of tensors, want at most {BLOCKS_MAX}"
            )
        return tuple(
            self._rounded(start, base[start:stop], update[start:stop], scale_bits, limit_q)
            for start, stop in runs
            if (base[start:stop] != update[start:stop]).any()
        )

    def _rounded(self, start: int, base: Ints, update: Ints, scale_bits: int, limit_q: int) -> Block:
        if self.obd.bits:
            most = levels_of_bits(self.obd.bits)
        else:
            largest = int(abs(update.astype("int64") - base).max())
            most = levels(largest / 2**scale_bits, self.obd.weight)
        return rounded_block(start, base, update, most, limit_q)

    def _in_second_stage(self, view: View) -> bool:
        return 0 < self.obd.second_stage <= view.round_number + 1
