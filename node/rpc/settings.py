"""Where the local interface listens, and its bounds."""

from dataclasses import dataclass
from pathlib import Path

from node.label_disclosure import NOTHING
from node.privacy_budget import DEFAULT_LIMIT, Limit

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcSettings:
    """`listen`: host:port, port 0 for any free one, "" for no TCP at all. Paths default to names in `data_dir`."""

    data_dir: Path
    listen: str = "127.0.0.1:4002"
    socket_path: Path | None = None
    cookie_path: Path | None = None
    # What the node offers to requests, and how much of its records' privacy all of them may spend.
    data_type: str = ""
    privacy_limit: Limit = DEFAULT_LIMIT
    # Most that this organisation lets be told of its test records.
    telling: str = "noisy"
    # How much an offer says of the classes of our records.
    disclose_labels: str = NOTHING
    # Names by which a browser or client may call us (DNS rebinding would come under another).
    hosts: tuple[str, ...] = LOOPBACK_HOSTS

    # The largest transaction in hex is 64 KiB; a batch of small ones some 500 bytes each.
    body_bytes_max: int = 2 * 2**20
    # A quarter second of transfers at the speed the league promises for all nodes together, with room.
    batch_calls_max: int = 512
    # A full block as JSON takes up to some 10 MB; what a batch asks for beyond this is refused call by call.
    answer_bytes_max: int = 48 * 2**20
    connections_max: int = 64
    # Some twenty full blocks and a model: below it the next write may fail, and there is still time to act.
    disk_free_bytes_min: int = 256 * 2**20

    # A body arrives from the same machine.
    body_s: float = 10.0
    # Nothing but waiting for finality takes longer, and that has its own limit.
    call_s: float = 60.0
    wait_final_s_max: int = 600
    keep_alive_s: float = 30.0
    # A reader that takes nothing for so long has stopped; its socket is closed.
    stall_s: float = 10.0
    # So that proxies and clients see that a silent event stream is alive.
    heartbeat_s: float = 15.0

    @property
    def socket(self) -> Path:
        return self.socket_path or self.data_dir / "rpc.sock"

    @property
    def cookie(self) -> Path:
        return self.cookie_path or self.data_dir / ".cookie"

    @property
    def address_file(self) -> Path:
        """Tells clients where a running node listens: JSON with http, socket, cookie, pid."""
        return self.data_dir / "rpc.json"
