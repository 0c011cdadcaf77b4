"""The kinematics of a rolling-element bearing: at which rates a damaged part is struck. Pure arithmetic."""

from dataclasses import dataclass
from math import cos, radians

from fl.data.errors import DataError


@dataclass(frozen=True, slots=True)
class FaultOrders:
    """Rates as multiples of the shaft's rotation (inner ring turning, outer ring fixed, no slip).

    bpfo, bpfi: a rolling element passes a point of the outer, the inner ring. bsf: a ball turns about itself; a spot
    on it strikes both rings, so twice a turn. ftf: the cage goes round.
    """

    bpfo: float
    bpfi: float
    bsf: float
    ftf: float


@dataclass(frozen=True, slots=True)
class BearingGeometry:
    """Default: the SKF 6205-2RS at the drive end of the CWRU rig (9 balls of 7.94 mm on 39.04 mm)."""

    elements: int = 9
    ball_mm: float = 7.94
    pitch_mm: float = 39.04
    contact_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.ball_mm < self.pitch_mm or not 3 <= self.elements <= 100:
            raise DataError(
                f"bearing of {self.elements} balls of {self.ball_mm} mm on {self.pitch_mm} mm, "
                "want 3..100 balls smaller than the pitch diameter"
            )

    def orders(self) -> FaultOrders:
        """The fault rates, as multiples of the shaft's."""
        ratio = self.ball_mm / self.pitch_mm * cos(radians(self.contact_deg))
        return FaultOrders(
            bpfo=self.elements / 2 * (1 - ratio),
            bpfi=self.elements / 2 * (1 + ratio),
            bsf=self.pitch_mm / (2 * self.ball_mm) * (1 - ratio**2),
            ftf=(1 - ratio) / 2,
        )
