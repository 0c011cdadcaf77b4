"""What a round needs that depends on its request alone: read, checked and built once by who trains many clients."""

from dataclasses import dataclass

import torch
from torch import nn

from fl.devices import home_of
from fl.models.registry import build
from fl.models.shapes import parameter_shapes
from fl.privacy.modes import Mode, privacy_mode
from fl.privacy.strategies import check_strategy_privacy
from fl.round_job import RoundJob
from fl.strategies.base import Layout, Strategy
from fl.strategies.registry import strategy


@dataclass(frozen=True, slots=True)
class Setup:
    """network: of the job's model, on the device that trains; its parameters are what was in work last, and nothing
    may depend on them. Fits every job of the same request: model, strategy and privacy."""

    mode: Mode
    rule: Strategy
    layout: Layout
    network: nn.Module

    @property
    def device(self) -> torch.device:
        return home_of(self.network)


def setup_of(job: RoundJob, device: torch.device | None = None) -> Setup:
    """Raises ModelError, StrategyError and PrivacyRefused for a job that cannot be done here."""
    mode = privacy_mode(job.privacy, job.allow_no_guarantee)
    mode.check(job.privacy_settings)
    rule = strategy(job.strategy, job.strategy_settings)
    check_strategy_privacy(rule, mode, job.epochs)
    network = build(job.model, job.arguments, seed=0)
    return Setup(mode, rule, Layout(parameter_shapes(job.model, job.arguments)), network.to(device or "cpu"))
