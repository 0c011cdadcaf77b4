"""How good a model is on a factory's own test records, said so that no single record shows.

The count of recognised records changes by 1 when one record is zeroed out, and the number of test records is public:
with noise of deviation sigma it is the Gaussian mechanism of multiplier sigma, `accountant.rdp_gaussian`.
"""

from fl.privacy.secure_random import SecureRandom
from fl.privacy.terms import PrivacyRefused

MICRO = 1_000_000


def noisy_accuracy(correct: int, records: int, sigma: float, random: SecureRandom) -> int:
    """Millionths, of the noised count brought back between none and all. Raises PrivacyRefused without noise."""
    if not sigma > 0.0:
        raise PrivacyRefused(f"an accuracy with noise of deviation {sigma:g}, want more than 0")
    noised = correct + sigma * float(random.normal(1)[0])
    return int(MICRO * min(max(noised, 0.0), float(records)) / records)
