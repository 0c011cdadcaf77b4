"""Contradictions: settings that are each allowed and cannot be meant together, and files that have to be there.

Everything here yields plain sentences that begin with `[section] key`.
"""

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from node.identity import KeyFileError, read_passphrase_file, stored_key
from node.network.addresses import Address, parse_address
from node.network.transport import InvalidAddress

if TYPE_CHECKING:
    from node.config import Config


def contradictions(config: "Config") -> Iterator[str]:
    """What is wrong between the settings; nothing when they can be run."""
    yield from _network(config)
    yield from _rpc(config)
    yield from _timers(config)
    yield from _training(config)
    yield from _privacy(config)
    yield from _sync(config)
    if config.key.passphrase_file is not None:
        try:
            read_passphrase_file(config.key.passphrase_file)
        except KeyFileError as error:
            yield f"[key] passphrase_file: {error}"


def missing_files(config: "Config") -> Iterator[str]:
    """Files that a start needs and that are not there or not readable; `hanse config check` names them all."""
    try:
        stored_key(config.key.file)
    except KeyFileError as error:
        yield f"[key] file: {error}; `hanse keys new` makes one"
    if not config.genesis.file.is_file():
        yield f"[genesis] file: {config.genesis.file} is not there; ask a member of the league for its genesis file"
    if config.data.path is not None and not config.data.path.exists():
        yield f"[data] path: {config.data.path} is not there"
    if not config.node.data_dir.is_dir():
        yield f"[node] data_dir: {config.node.data_dir} is no folder; `hanse init` makes one"


def _network(config: "Config") -> Iterator[str]:
    network = config.network
    if not network.listen:
        yield "[network] listen is empty, want at least one address such as /ip4/0.0.0.0/tcp/4001"
    parsed: dict[str, list[Address]] = {}
    for key in ("listen", "announce", "bootstrap"):
        parsed[key] = []
        for text in getattr(network, key):
            try:
                parsed[key].append(parse_address(text))
            except InvalidAddress as error:
                yield f"[network] {key}: {error}"
    for address in parsed["listen"]:
        if address.org is not None:
            yield f"[network] listen: {address} names a peer, want a place of this machine only"
        if address.family not in ("ip4", "ip6"):
            yield f"[network] listen: {address}, want an ip4 or ip6 address of this machine"
    for address in parsed["announce"]:
        if address.port == 0 or address.host in ("0.0.0.0", "::"):
            yield f"[network] announce: nobody can dial {address}, want the address that others reach this node at"
    for address in parsed["bootstrap"]:
        if address.org is None:
            yield f"[network] bootstrap: {address} does not say who answers there, want it to end in /p2p/<peer id>"
        if address.port == 0:
            yield f"[network] bootstrap: nobody can dial port 0 of {address}"
    for key in ("listen", "announce", "bootstrap"):
        listed = getattr(network, key)
        twice = sorted({text for text in listed if listed.count(text) > 1})
        if twice:
            yield f"[network] {key} names {twice[0]} twice"
    if network.silence_ms <= network.ping_every_ms:
        yield (
            f"[network] silence_ms is {network.silence_ms}, want more than ping_every_ms ({network.ping_every_ms}):"
            " a member is asked before it is given up"
        )


def _rpc(config: "Config") -> Iterator[str]:
    rpc = config.rpc
    host, _, port = rpc.listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        yield f"[rpc] listen is {rpc.listen!r}, want host:port such as 127.0.0.1:4002 or [::1]:4002"
        return
    if not is_loopback(rpc.host) and not rpc.allow_remote:
        yield (
            f"[rpc] listen is {rpc.listen!r}, which other machines reach: whoever holds the cookie spends this"
            " organisation's tokens; want 127.0.0.1, or [rpc] allow_remote = true"
        )
    for text in config.network.listen:
        try:
            address = parse_address(text)
        except InvalidAddress:
            continue
        everywhere = {"0.0.0.0", "::"}
        same_host = address.host == rpc.host or bool({address.host, rpc.host} & everywhere)
        if rpc.port and address.port == rpc.port and same_host:
            yield f"[rpc] listen and [network] listen are both on port {rpc.port}, want two ports"


def _timers(config: "Config") -> Iterator[str]:
    timers = config.consensus
    if timers.resend_ms >= timers.view_timeout_ms:
        yield (
            f"[consensus] resend_ms is {timers.resend_ms}, want less than view_timeout_ms ({timers.view_timeout_ms}):"
            " one lost message would cost every leader its view"
        )
    if timers.grace_ms >= timers.view_timeout_ms:
        yield (
            f"[consensus] grace_ms is {timers.grace_ms}, want less than view_timeout_ms ({timers.view_timeout_ms}):"
            " this node would never propose in time"
        )


def _sync(config: "Config") -> Iterator[str]:
    kept, every = config.storage.keep_blocks, config.sync.snapshot_every
    if kept and kept < 2 * every:
        yield (
            f"[storage] keep_blocks is {kept}, want at least twice [sync] snapshot_every ({every}), or 0: who joins by"
            " a snapshot fetches the blocks after it"
        )
    most = config.storage.bytes_max
    if most and most < config.storage.blob_bytes_max:
        yield (
            f"[storage] bytes_max is {most}, want more than blob_bytes_max ({config.storage.blob_bytes_max}):"
            " blobs are a part of it"
        )


def _training(config: "Config") -> Iterator[str]:
    data, training = config.data, config.training
    if not data.source:
        if training.offer != "ask":
            yield "[training] offer joins requests by itself, and [data] source names no data to train on"
        for key in ("block", "path", "settings", "type", "follow_seconds"):
            if getattr(data, key):
                own = ', want source = "own"' if key == "block" else ""
                yield f"[data] {key} is set and [data] source is not{own}"
        return
    if data.block is not None:
        yield from _block(config)
    if data.period_records and data.period_seconds:
        yield "[data] period_records and period_seconds are both set; set the one that is not meant to 0"
    if not data.period_records and not data.period_seconds:
        yield "[data] period_records and period_seconds are both 0; one of them says how long a period is"
    if data.follow_seconds and data.path is None:
        yield "[data] follow_seconds is set and [data] path names no file that could grow"
    if isinstance(training.offer, tuple) and data.data_type not in training.offer:
        yield f"[training] offer lists {', '.join(training.offer)}, and the data here is of type {data.data_type}"


def _block(config: "Config") -> Iterator[str]:
    from fl.data.errors import DataError
    from fl.data.own.block import parse_block

    data = config.data
    if data.source != "own":
        yield f'[data] block is set and source is {data.source!r}, want source = "own"'
    if data.path != config.path:
        yield f"[data] block is set and path is {data.path}, want one of the two"
    try:
        parse_block(data.block or {}, config.path.parent, "[data.block]")
    except DataError as error:
        yield str(error)


def _privacy(config: "Config") -> Iterator[str]:
    privacy = config.privacy
    if privacy.require_guarantee and privacy.allow_no_guarantee:
        yield "[privacy] require_guarantee and allow_no_guarantee are both true, want at most one of them"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dialable(listen: tuple[str, ...]) -> tuple[str, ...]:
    """Those listen addresses that others can dial as they are: neither "any address" nor "any port"."""
    parsed = [(text, parse_address(text)) for text in listen]
    return tuple(text for text, address in parsed if address.port and address.host not in ("0.0.0.0", "::"))
