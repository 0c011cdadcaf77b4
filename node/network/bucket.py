"""An allowance that refills evenly, the arithmetic under every rate in this package. Pure: told the time in seconds."""


class Bucket:
    """Full at first with `most`, refilled by `per_s` a second. `now`: any clock that only goes on."""

    def __init__(self, per_s: float, most: float, now: float) -> None:
        self.per_s = per_s
        self._most = most
        self._level = most
        self._at = now

    def level(self, now: float) -> float:
        """What is left; below zero while more was spent than there was."""
        self._level = min(self._most, self._level + max(0.0, now - self._at) * self.per_s)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> bool:
        """Whether `amount` was there; then it is taken, else nothing is."""
        if self.level(now) < amount:
            return False
        self._level -= amount
        return True

    def spend(self, amount: float, now: float) -> None:
        """Take `amount` whether it is there or not. No more than `most` is ever owed: a wait has an end."""
        self._level = max(self.level(now) - amount, -self._most)

    def wait_s(self, now: float) -> float:
        """How long until nothing is owed; infinite when nothing refills it."""
        owed = -self.level(now)
        # What rounding leaves is nothing: a wait too short to move the clock would be waited for again for ever.
        if owed <= self._most * 1e-9:
            return 0.0
        return owed / self.per_s if self.per_s > 0 else float("inf")
