"""What a field of a statement or an entry may hold: named annotations, so that a bound is written down once."""

from typing import Annotated

from ledger.codec import Range, Size
from ledger.types import AMOUNT_MAX, MEMBERS_MAX, MICRO

Digest = Annotated[bytes, Size(32, 32)]
Org = Annotated[bytes, Size(32, 32)]
Key = Annotated[bytes, Size(32, 32)]
SignatureBytes = Annotated[bytes, Size(64, 64)]
Amount = Annotated[int, Range(0, AMOUNT_MAX)]
Count = Annotated[int, Range(0, AMOUNT_MAX)]
Positive = Annotated[int, Range(1, AMOUNT_MAX)]
Millionths = Annotated[int, Range(0, MICRO)]
Duration = Annotated[int, Range(1, 366 * 86_400_000)]  # milliseconds, a year at most
Name = Annotated[str, Size(1, 64)]
Text = Annotated[str, Size(0, 256)]
Address = Annotated[str, Size(1, 256)]
Addresses = Annotated[tuple[Address, ...], Size(0, 8)]
Orgs = Annotated[tuple[Org, ...], Size(0, MEMBERS_MAX)]
Roles = Annotated[int, Range(0, 3)]  # a sum of `roles.Role`
Version = Annotated[int, Range(1, 2**16)]  # of the protocol
# Empty where an organisation's identity is its node's key too: one value, one form.
OwnKey = Annotated[bytes, Size(0, 32)]
OwnKeyProof = Annotated[bytes, Size(0, 64)]
