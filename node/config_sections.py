"""The sections of the daemon's configuration: every setting with its bounds, default and meaning.

`config.py` reads them from a file and looks for contradictions between them. Times say their unit in their name.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fl.privacy.terms import ACCURACIES
from ledger.types import BLOB_BYTES_MAX
from node.label_disclosure import CHOICES, NOTHING
from node.toml_rules import Choice, Flag, Number, Place, TextTable, Whole, WholeTable, WordList, WordOrList, Words

if TYPE_CHECKING:
    from node.network.transport import Limits
    from node.privacy_budget import Limit
    from node.rpc.settings import RpcSettings

KIB, MIB, GIB = 2**10, 2**20, 2**30
ADDRESSES_MAX = 64
DATA_TYPES_MAX = 64


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Who runs here, and where what it knows is kept."""

    name: Annotated[str, Words(1, 64, "the organisation's name, as others see it")]
    data_dir: Annotated[Path, Place("folder of the ledger, records, models and everything else")] = Path()
    log_level: Annotated[
        str, Choice(("debug", "info", "warning", "error"), "the least serious line that is logged")
    ] = "warning"
    log_format: Annotated[str, Choice(("text", "json"), "for people, or one JSON object a line")] = "text"


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """The key this node signs with. The passphrase is asked for when the key needs one and no file gives it."""

    file: Annotated[Path, Place("the node's key; default: key.pem in the data folder")] = Path()
    identity: Annotated[
        Path, Place("the public part of the organisation's identity, when that is a key apart; default: identity.pub")
    ] = Path()
    passphrase_file: Annotated[
        Path | None, Place("a file, mode 0600, whose first line is the passphrase; empty: ask at the terminal")
    ] = None


@dataclass(frozen=True, slots=True)
class GenesisConfig:
    """The first block, the same file for everybody in the league."""

    file: Annotated[Path, Place("the genesis file; default: genesis.json in the data folder")] = Path()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """How members reach each other. Addresses are multiaddrs: /ip4/10.0.0.5/tcp/4001, /dns4/a.example/tcp/4001."""

    listen: Annotated[tuple[str, ...], WordList(8, 256, "where this node listens")] = ("/ip4/0.0.0.0/tcp/4001",)
    announce: Annotated[
        tuple[str, ...], WordList(8, 256, "where others reach this node, when that differs from where it listens")
    ] = ()
    bootstrap: Annotated[
        tuple[str, ...], WordList(ADDRESSES_MAX, 256, "members to begin with, each ending in /p2p/<peer id>")
    ] = ()
    dial_timeout_ms: Annotated[int, Whole(100, 120_000, "longest wait for a connection")] = 8_000
    ping_every_ms: Annotated[int, Whole(200, 60_000, "a silent member is asked for a sign of life after this")] = 5_000
    silence_ms: Annotated[int, Whole(500, 300_000, "a member silent for so long is dialled anew")] = 8_000
    strangers_max: Annotated[int, Whole(0, 64, "non-members connected at a time, who may only ask to be let in")] = 8
    strangers_per_minute: Annotated[int, Whole(0, 6_000, "connections of non-members let in a minute")] = 60

    def transport_limits(self) -> "Limits":
        """The transport's bounds with what is set here."""
        from node.network.transport import Limits

        return Limits(
            dial_s=self.dial_timeout_ms / 1000,
            ping_every_s=self.ping_every_ms / 1000,
            silence_s=self.silence_ms / 1000,
            strangers_max=self.strangers_max,
            strangers_per_minute=self.strangers_per_minute,
        )


@dataclass(frozen=True, slots=True)
class RpcConfig:
    """JSON-RPC, events and metrics, for this machine only unless `allow_remote` says otherwise."""

    listen: Annotated[str, Words(3, 256, "host:port; port 0: any free one, written to rpc.json")] = "127.0.0.1:4002"
    allow_remote: Annotated[bool, Flag("listen beyond this machine; put a TLS proxy in front before you do")] = False
    socket: Annotated[Path, Place("Unix socket, mode 0600; default: rpc.sock in the data folder")] = Path()
    cookie_file: Annotated[Path, Place("the secret of HTTP callers, new at each start; default: .cookie")] = Path()
    body_bytes_max: Annotated[int, Whole(64 * KIB, 64 * MIB, "longest request")] = 2 * MIB
    batch_max: Annotated[int, Whole(1, 10_000, "calls in one batch")] = 512
    connections_max: Annotated[int, Whole(1, 4_096, "connections at a time")] = 64
    timeout_ms: Annotated[int, Whole(1_000, 3_600_000, "longest time for one call")] = 60_000

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    def settings(self, data_dir: Path) -> "RpcSettings":
        """The local interface's own settings with what is set here."""
        from node.rpc.settings import LOOPBACK_HOSTS, RpcSettings

        named = f"[{self.host}]" if ":" in self.host else self.host
        return RpcSettings(
            data_dir=data_dir,
            listen=self.listen,
            socket_path=self.socket,
            cookie_path=self.cookie_file,
            hosts=tuple(dict.fromkeys((*LOOPBACK_HOSTS, named))),
            body_bytes_max=self.body_bytes_max,
            batch_calls_max=self.batch_max,
            connections_max=self.connections_max,
            call_s=self.timeout_ms / 1000,
        )


@dataclass(frozen=True, slots=True)
class ConsensusConfig:
    """Timers of agreement. All members should have the same; other values cost time, never safety."""

    view_timeout_ms: Annotated[int, Whole(50, 600_000, "patience with the leader of a height's first view")] = 2_000
    view_timeout_step_ms: Annotated[int, Whole(0, 60_000, "more patience for each later view of the height")] = 500
    resend_ms: Annotated[int, Whole(20, 60_000, "what was not answered is sent again after this")] = 700
    grace_ms: Annotated[int, Whole(0, 60_000, "a leader waits so long for more transactions before it proposes")] = 0
    clock_tolerance_ms: Annotated[
        int, Whole(100, 3_600_000, "how far a block's time may be from this machine's clock")
    ] = 15_000


_BLOCK = (
    "[data.block]                      # docs/data.md has a block for every kind",
    'kind = "csv"                      # csv, parquet, npz, arrays, images or sql',
    'path = "press.csv"',
    'label = "State"',
    'classes = ["ok", "worn"]',
    "test_percent = 20",
    "[[data.block.features]]",
    'column = "Heat"',
    "low = 0                           # sent to -1; the same range at all factories, never taken from the data",
    "high = 100                        # sent to +1",
)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """The records this organisation trains on. They never leave it; only the roots over them do."""

    source: Annotated[str, Words(0, 64, "a data source, see `hanse config sources`; empty: this node has no data")] = ""
    path: Annotated[Path | None, Place("file or folder of the source, where it needs one")] = None
    settings: Annotated[tuple[tuple[str, str], ...], TextTable(64, "settings of the source")] = ()
    type: Annotated[str, Words(0, 64, "data type that requests ask for; empty: the source's own name")] = ""
    period_records: Annotated[int, Whole(0, 10_000_000, "records in an anchored period; 0: periods by time")] = 250
    period_seconds: Annotated[int, Whole(0, 366 * 86_400, "seconds in an anchored period; 0: by records")] = 0

    follow_seconds: Annotated[
        int, Whole(0, 86_400, "look so often, in seconds, for rows added to the file of the source; 0: at a start only")
    ] = 0
    block: Annotated[
        dict[str, Any] | None, WholeTable("data of one's own, for the source own, in the place of a path", _BLOCK)
    ] = None

    @property
    def data_type(self) -> str:
        """What this node offers to requests."""
        return self.type or self.source


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What this organisation trains for others, and what it grants the trainer."""

    offer: Annotated[
        str | tuple[str, ...],
        WordOrList(
            ("ask", "all"),
            WordList(DATA_TYPES_MAX, 64, "data types"),
            "join by hand, join every request for our data type, or those for the types listed",
        ),
    ] = "ask"
    price_min: Annotated[int, Whole(1, 2**53 - 1, "least tokens a record and round for which it joins by itself")] = 1
    threads: Annotated[int, Whole(1, 256, "processor threads of the trainer")] = 1
    nice: Annotated[int, Whole(0, 19, "how far the trainer yields to everything else on this machine")] = 10
    idle_exit_s: Annotated[int, Whole(1, 86_400, "the trainer's process leaves after so long without work")] = 120

    def offers(self, data_type: str) -> bool:
        """Whether a request for `data_type` is joined without asking."""
        if isinstance(self.offer, tuple):
            return data_type in self.offer
        return self.offer == "all"


@dataclass(frozen=True, slots=True)
class PrivacyConfig:
    """What may become known of this organisation's records by training on them, in all requests together."""

    epsilon_max: Annotated[
        str, Number("0", "1000000", "epsilon of all trainings on this node's records; a round past it is declined")
    ] = "10"
    delta: Annotated[
        str, Number("0.000000000001", "0.001", "delta of that epsilon; want it below 1 / (10 records)")
    ] = "0.00001"
    accuracy: Annotated[
        str, Choice(ACCURACIES, "most that is told of our test records; exact ones cost privacy that nobody can count")
    ] = "noisy"
    require_guarantee: Annotated[
        bool, Flag("train only in modes with a guarantee (sound, distributed), never in none or paper")
    ] = False
    allow_no_guarantee: Annotated[
        bool, Flag("train also in privacy mode paper, which adds noise and proves nothing")
    ] = False

    disclose_labels: Annotated[
        str, Choice(CHOICES, "tell with an offer, on the ledger for good, which share of our records is of which class")
    ] = NOTHING

    def limit(self) -> "Limit":
        """What all trainings together may spend."""
        from node.privacy_budget import Limit

        return Limit(int(Decimal(self.epsilon_max) * 10**6), float(self.delta))


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Bounds of the disk."""

    blob_bytes_max: Annotated[int, Whole(BLOB_BYTES_MAX, 2**50, "models and updates kept, in bytes")] = 8 * GIB
    keep_blocks: Annotated[
        int, Whole(0, 2**53 - 1, "whole blocks kept below the head, headers stay for good; 0: all blocks")
    ] = 0
    bytes_max: Annotated[
        int, Whole(0, 2**60, "bytes the data folder may take; near it old things make way; 0: what the disk has")
    ] = 0
    disk_free_min: Annotated[
        int, Whole(0, 2**50, "bytes free below which the node takes no new work; with a quarter of it, it stops")
    ] = 256 * MIB


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """How members that are far behind get to the head: by a snapshot of the state instead of all blocks."""

    snapshot_gap: Annotated[
        int, Whole(0, 2**53 - 1, "heights behind from which on a snapshot is fetched; 0: only when no blocks are had")
    ] = 2_000
    snapshot_every: Annotated[
        int, Whole(0, 2**53 - 1, "heights between the snapshots written for others; 0: none is written")
    ] = 1_000
    snapshot_seconds: Annotated[int, Whole(0, 366 * 86_400, "time of the ledger between two of them, at least")] = 600


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Figures for Prometheus, at /metrics of the RPC port."""

    enabled: Annotated[bool, Flag("whether /metrics answers")] = True
