"""How many peers that are no members may be connected, and how often new ones are let in. Pure: told the time.

Places and admissions are shared out by network, for keys cost nothing and addresses cost something: one IPv4 address or
one IPv6 /64 (what a site is given, RFC 6177) counts as one.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Mapping

from ledger.types import NodeKey
from node.network.bucket import Bucket
from node.network.transport import Limits

# Networks whose last admissions are remembered; past that the one that was quiet longest begins with a full bucket.
NETWORKS_REMEMBERED_MAX = 1024
_SITE_BITS = 64


def network_of(host: str) -> str:
    """The network an address belongs to, as text; what is no address is a network of its own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, _SITE_BITS), strict=False))
    return str(address)


class Allowances:
    """A bucket for every network that was heard of lately."""

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s, self._most = per_s, most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, network: str, now: float) -> bool:
        """Whether the network had one left; it then has one less."""
        bucket = self._buckets.setdefault(network, Bucket(self._per_s, self._most, now))
        self._buckets.move_to_end(network)
        if len(self._buckets) > NETWORKS_REMEMBERED_MAX:
            self._buckets.popitem(last=False)
        return bucket.take(1, now)


class StrangerGate:
    """Admissions in all and of each network. `now` in seconds of any clock that only goes on."""

    def __init__(self, limits: Limits, now: float) -> None:
        # A short rush is normal (a joiner opens and reopens), so a tenth of a minute's worth is kept.
        most = max(float(limits.strangers_max), limits.strangers_per_minute / 10)
        self._all = Bucket(limits.strangers_per_minute / 60, most, now)
        of_network = limits.strangers_per_network_per_minute
        self._each = Allowances(of_network / 60, max(float(limits.strangers_per_network_max), of_network / 10))
        self._limits = limits

    def admit(self, org: NodeKey, network: str, connected: Mapping[NodeKey, str], now: float) -> bool:
        """Whether stranger `org` may connect from `network` while strangers `connected` (with theirs) are.

        Takes one of the network's admissions first: a network that asks too often does not take what is for all.
        """
        others = Counter(theirs for known, theirs in connected.items() if known != org)
        if others.total() >= self._limits.strangers_max or others[network] >= self._limits.strangers_per_network_max:
            return False
        return self._each.take(network, now) and self._all.take(1, now)
