"""A process that speaks our transport with a key of its own and keeps no rule above it. For tests only.

    python -m tests.support.hostile_member <key seed, hex> <chain id, hex> <port> <org, hex>=<address> ...

It serves whatever bytes it was told to under whatever name, and sends what it is told. Commands come as JSON, one a
line, and each is answered by one line: {"serve": digest, "bytes": hex}, {"post": org, "bytes": hex},
{"frame": org, "bytes": how many}, {"ask": address, "kind": kind}, {"connected": org}.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from ledger.codec import decode, encode
from ledger.keys import KeyPair
from ledger.types import Hash32, OrgId
from node.network.blob_exchange import KIND, Offered, Wanted
from node.network.libp2p_transport import open_transport
from node.network.transport import Channel, Limits, RequestRefused, Transport, TransportConfig, TransportError

ROOT = Path(__file__).parents[2]
# Its own bound on what it sends is no bound at all; the others' is what is tested.
LIMITS = Limits(message_bytes_max=2**27, queued_bytes_max=2**28, flight_bytes_max=2**27, backoff_first_s=0.1)


async def _main(seed: str, chain_id: str, port: str, members: Sequence[str]) -> None:
    blobs: dict[bytes, bytes] = {}

    async def serve(channel: Channel) -> None:
        wanted = decode(Wanted, await channel.receive(64))
        if wanted.digest not in blobs:
            raise RequestRefused("missing", "not here")
        data = blobs[wanted.digest]
        await channel.send(encode(Offered(len(data))))
        await channel.send(data[wanted.offset :])
        await channel.receive(16)

    key = KeyPair.from_seed(bytes.fromhex(seed))
    config = TransportConfig(
        key=key, chain_id=Hash32(bytes.fromhex(chain_id)), listen=(f"/ip4/127.0.0.1/tcp/{port}",), limits=LIMITS
    )
    async with open_transport(config) as transport:
        transport.serve_channel(KIND, serve, concurrent_per_peer=8)
        pairs = [member.partition("=") for member in members]
        transport.set_members({OrgId(bytes.fromhex(org)): (address,) for org, _, address in pairs})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_swallow, transport)
            print(json.dumps({"listening": transport.listening[0]}), flush=True)
            async for line in _lines():
                answer = await _obey(transport, blobs, json.loads(line))
                print(json.dumps(answer), flush=True)
            nursery.cancel_scope.cancel()


async def _lines() -> Any:
    async with trio.wrap_file(sys.stdin) as stdin:
        async for line in stdin:
            yield line


async def _swallow(transport: Transport) -> None:
    async for _ in transport.incoming:
        pass


async def _obey(transport: Transport, blobs: dict[bytes, bytes], command: Mapping[str, Any]) -> dict[str, Any]:
    match command:
        case {"serve": name, "bytes": data}:
            blobs[bytes.fromhex(name)] = bytes.fromhex(data)
            return {"served": name}
        case {"post": org, "bytes": data}:
            return {"posted": transport.post(OrgId(bytes.fromhex(org)), bytes.fromhex(data))}
        case {"frame": org, "bytes": count}:
            return {"posted": transport.post(OrgId(bytes.fromhex(org)), bytes(count))}
        case {"connected": org}:
            return {"connected": any(each.org.hex() == org and each.connected for each in transport.peers())}
        case {"ask": address, "kind": kind}:
            try:
                return {"answer": (await transport.request_at(address, kind, b"", 10.0)).hex()}
            except RequestRefused as refused:
                return {"refused": refused.code}
            except TransportError as error:
                return {"failed": str(error)}
    raise ValueError(f"unknown command {command}")


class HostileMember:
    """The running process."""

    def __init__(self, key: KeyPair, chain_id: bytes, port: int, members: Mapping[OrgId, str]) -> None:
        self.key = key
        pairs = [f"{org.hex()}={address}" for org, address in members.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hostile_member", key.seed.hex(), chain_id.hex(), str(port), *pairs],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the hostile member did not start"

    def tell(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the hostile member has died"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def hostile_member(key: KeyPair, chain_id: bytes, port: int, members: Mapping[OrgId, str]) -> Iterator[HostileMember]:
    member = HostileMember(key, chain_id, port, members)
    try:
        yield member
    finally:
        member.end()


if __name__ == "__main__":
    trio.run(_main, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
