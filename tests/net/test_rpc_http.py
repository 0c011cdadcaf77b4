"""The local interface over real sockets: who may ask, how much, and what becomes of clients that misbehave."""

import base64
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from node.events import EventHub, NodeEvent
from node.metrics import Metrics
from node.rpc.client import InvalidAnswer, NodeUnreachable, RpcClient
from node.rpc.errors import RpcError
from node.rpc.listeners import CannotListen
from node.rpc.server import serve_rpc
from tests.support.rpc_services import LoneServices, clients, served, settings_in

REPOSITORY = Path(__file__).parents[2]
VERSION = {"jsonrpc": "2.0", "id": 1, "method": "version"}

in_thread = trio.to_thread.run_sync


@pytest.fixture
def services():
    return LoneServices()


def word(response):
    return response.json()["error"]["data"]["code"]


def http(addresses, **headers):
    """Plain HTTP with the cookie, but where `headers` say otherwise (None: leave it out)."""
    given = {"authorization": f"Bearer {addresses.cookie.read_text()}", "content-type": "application/json"}
    given = {name: value for name, value in (given | headers).items() if value is not None}
    return httpx.AsyncClient(base_url=addresses.http, headers=given, trust_env=False, timeout=20)


@pytest.mark.trio
async def test_both_doors_speak_the_same_protocol(services, tmp_path):
    async with served(services, settings_in(tmp_path)) as addresses:

        def talk():
            for client in [*clients(addresses), RpcClient(tmp_path)]:
                with client:
                    assert client.call("account", org="bob")["name"] == "bob"
                    results = client.batch([("version", {}), ("tx", {"id": "00" * 32}), ("committee", {})])
                    assert results[0]["pid"] == os.getpid()
                    assert isinstance(results[1], RpcError)
                    assert results[1].kind.word == "not_found"
                    assert results[2]["quorum"] == 2
                    with pytest.raises(RpcError) as caught:
                        client.call("block", height=77)
                    assert (caught.value.kind.code, caught.value.details["height"]) == (-32001, 0)

        await in_thread(talk)


@pytest.mark.trio
async def test_the_cookie_is_private_new_at_each_start_and_asked_for(services, tmp_path):
    cookies = []
    for _ in range(2):
        async with served(services, settings_in(tmp_path)) as addresses:
            cookies.append(addresses.cookie.read_text())
            for file in (addresses.cookie, addresses.socket, tmp_path / "rpc.json"):
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            told = json.loads((tmp_path / "rpc.json").read_text())
            assert (told["http"], told["pid"]) == (addresses.http, os.getpid())
            basic = base64.b64encode(f"__cookie__:{cookies[-1]}".encode()).decode()
            stranger = base64.b64encode(f"root:{cookies[-1]}".encode()).decode()
            wrong = [
                None,
                "Bearer",
                "Bearer " + "0" * 64,
                f"Bearer {cookies[0]}x",
                "Basic !",
                f"Basic {stranger}",
            ]
            wrong += [f"Digest {cookies[-1]}"] + ([f"Bearer {cookies[0]}"] if len(cookies) > 1 else [])
            for credential in wrong:
                async with http(addresses, authorization=credential) as client:
                    response = await client.post("/", json=VERSION)
                    assert (response.status_code, word(response)) == (401, "unauthorized")
                    assert (await client.get("/events")).status_code == 401
            for credential in (f"Basic {basic}", f"Bearer {cookies[-1]}", f"bearer  {cookies[-1]}"):
                async with http(addresses, authorization=credential) as client:
                    assert (await client.post("/", json=VERSION)).status_code == 200
        assert not any((tmp_path / name).exists() for name in ("rpc.json", ".cookie", "rpc.sock"))
    assert cookies[0] != cookies[1]
    assert len(cookies[0]) == 64


@pytest.mark.trio
async def test_other_hosts_and_other_pages_are_turned_away(services, tmp_path):
    async with served(services, settings_in(tmp_path)) as addresses:
        port = addresses.http.rpartition(":")[2]
        for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "127.0.0.2"):
            async with http(addresses, host=name) as client:
                for path in ("/healthz", "/metrics", "/events"):
                    response = await client.get(path)
                    assert (response.status_code, word(response)) == (403, "forbidden")
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
            async with http(addresses, origin=origin) as client:
                response = await client.post("/", json=VERSION)
                assert word(response) == "forbidden"
        for name in (f"localhost:{port}", "127.0.0.1", f"LOCALHOST:{port}"):
            async with http(addresses, host=name, origin=f"http://{name}") as client:
                response = await client.post("/", json=VERSION)
                assert response.status_code == 200
                assert "access-control-allow-origin" not in response.headers


@pytest.mark.trio
async def test_only_json_by_post_and_no_larger_than_allowed(services, tmp_path):
    async with served(services, settings_in(tmp_path, body_bytes_max=1_000)) as addresses:
        for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
            async with http(addresses, **{"content-type": content_type}) as client:
                response = await client.post("/", content=json.dumps(VERSION))
                assert (response.status_code, word(response)) == (415, "wrong_content_type")
        async with http(addresses) as client:
            assert word(await client.post("/", content=b"x" * 1_001)) == "too_large"

            async def endless():
                for _ in range(100):
                    yield b" " * 100

            response = await client.post("/", content=endless())
            assert (response.status_code, word(response)) == (413, "too_large")
            assert (await client.get("/")).status_code == 405
            response = await client.get("/no/such")
            assert (response.status_code, word(response)) == (404, "wrong_http_method")
            assert (await client.post("/", content=b"{")).status_code == 400
            notification = {"jsonrpc": "2.0", "method": "version"}
            assert (await client.post("/", json=notification)).status_code == 204
            # The connection and the node are as well as before.
            assert (await client.post("/", json=VERSION)).json()["result"]["pid"] == os.getpid()


@pytest.mark.trio
async def test_garbage_and_half_requests_cost_their_own_connection_only(services, tmp_path):
    settings = settings_in(tmp_path, keep_alive_s=0.3, body_s=0.3)
    async with served(services, settings) as addresses:
        port = int(addresses.http.rpartition(":")[2])
        cookie = addresses.cookie.read_text()
        half = (
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {cookie}\r\ncontent-length: 10\r\n\r\n{{"
        ).encode()
        pieces = [
            b"\x00" * 100,
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /%ff\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ]
        pieces += [
            b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 100_000,
            b"GET /health",
            half,
            b"",
        ]
        pieces += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200]
        for piece in pieces:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(piece)
                with trio.fail_after(5):
                    answer = b""
                    # Whatever it was: answered or not, the connection is closed from the other side.
                    try:
                        while chunk := await stream.receive_some(65_536):
                            answer += chunk
                    except trio.BrokenResourceError:
                        pass
                if piece == half:
                    assert answer.startswith(b"HTTP/1.1 408")
                    assert b"timed_out" in answer
        with RpcClient(tmp_path) as client:
            assert (await in_thread(client.call, "version"))["pid"] == os.getpid()


@pytest.mark.trio
async def test_connections_beyond_the_bound_are_told_so_and_the_others_go_on(services, tmp_path):
    async with served(services, settings_in(tmp_path, connections_max=2)) as addresses:
        async with http(addresses) as first, http(addresses) as second, http(addresses) as third:
            for client in (first, second):
                assert (await client.post("/", json=VERSION)).status_code == 200
            response = await third.post("/", json=VERSION)
            assert (response.status_code, word(response)) == (503, "busy")
            assert (await first.post("/", json=VERSION)).status_code == 200
            await second.aclose()
            with trio.fail_after(5):
                while (await third.post("/", json=VERSION)).status_code != 200:
                    await trio.sleep(0.01)


@pytest.mark.trio
async def test_a_node_whose_disk_has_less_room_than_configured_is_not_ready(services, tmp_path):
    async with served(services, settings_in(tmp_path, disk_free_bytes_min=2**60), Metrics()) as addresses:
        async with http(addresses, authorization=None) as client:
            (reason,) = (await client.get("/readyz")).json()["reasons"]
            assert "MB free" in reason
            assert str(2**40) in reason


@pytest.mark.trio
async def test_health_readiness_metrics_and_description_need_no_cookie(services, tmp_path):
    async with served(services, settings_in(tmp_path), Metrics()) as addresses:
        async with http(addresses, authorization=None) as client:
            assert (await client.get("/healthz")).json() == {"alive": True, "height": 0}
            assert (await client.get("/readyz")).json()["ready"] is True
            services.consensus.synced = False
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["reasons"] == ["catching up: at height 0"]
            page = (await client.get("/metrics")).text
            for line in (
                "hanse_height 0.0",
                "hanse_balance_tokens 1e+06",
                "hanse_synced 0.0",
                "hanse_peers_connected 1.0",
            ):
                assert line in page.splitlines()
            assert "process_resident_memory_bytes" in page
            document = (await client.get("/openrpc.json")).json()
            assert "request.publish" in {each["name"] for each in document["methods"]}


@pytest.mark.trio
async def test_a_node_that_listens_beyond_this_machine_shows_strangers_nothing(services, tmp_path):
    async with served(services, settings_in(tmp_path, listen="0.0.0.0:0"), Metrics()) as addresses:
        port = addresses.http.rpartition(":")[2]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
            for path in ("/metrics", "/readyz", "/openrpc.json"):
                assert (await client.get(path)).status_code == 401


class HeldBlobs:
    """Where the blob store is: content by digest."""

    def __init__(self, *contents):
        self.held = {blob_name(content): content for content in contents}

    def has(self, digest):
        return digest in self.held

    def view(self, digest):
        return memoryview(self.held[digest])


def blob_name(content):
    return hashlib.sha256(content).digest()


@pytest.mark.trio
async def test_a_held_blob_is_served_whole_and_others_are_not_found(services, tmp_path):
    content = os.urandom(1_000_001)
    services.blobs = HeldBlobs(content)
    name = blob_name(content).hex()
    async with served(services, settings_in(tmp_path)) as addresses:
        async with http(addresses) as client:
            response = await client.get(f"/blobs/{name}")
            assert (response.status_code, response.content) == (200, content)
            for other, status in (("00" * 32, 404), ("00", 404), ("zz", 400), ("..%2f.cookie", 404)):
                assert (await client.get(f"/blobs/{other}")).status_code == status
        async with http(addresses, authorization=None) as client:
            assert (await client.get(f"/blobs/{name}")).status_code == 401


@pytest.mark.trio
async def test_events_come_as_they_happen_over_sse(services, tmp_path):
    async with served(services, settings_in(tmp_path, heartbeat_s=0.05)) as addresses:

        def listen():
            for client in clients(addresses):
                with client, client.events("block", "round") as events:
                    sent = client.call("send", body={"kind": "transfer", "to": "bob", "amount": 1})
                    event = next(events)
                    assert (event.topic, event.height) == ("block", sent["height"])
                    assert event.data["transactions"] == 1
            with RpcClient(tmp_path) as client, pytest.raises(RpcError, match="want some of"):
                with client.events("blocks"):
                    pass

        await in_thread(listen)
        # Heartbeats show that a client left even when nothing happens.
        with trio.fail_after(5):
            while services.hub.subscribers:
                await trio.sleep(0.01)


@pytest.mark.trio
async def test_an_event_stream_ends_when_the_node_stops(services, tmp_path):
    async with served(services, settings_in(tmp_path)):

        def listen():
            with RpcClient(tmp_path) as client, client.events("block") as events:
                trio.from_thread.run_sync(services.hub.close)
                return list(events)

        assert await in_thread(listen) == []


@pytest.mark.trio
async def test_a_slow_reader_of_events_is_cut_with_an_error(tmp_path):
    services = LoneServices(hub=EventHub(queued_max=4))
    async with served(services, settings_in(tmp_path)):

        def listen():
            with RpcClient(tmp_path) as client, client.events("block") as events:
                trio.from_thread.run_sync(flood)
                with pytest.raises(RpcError) as caught:
                    list(events)
                assert caught.value.kind.word == "slow_subscriber"

        def flood():
            # More than its queue holds before it can read once.
            for height in range(100):
                services.hub.publish(NodeEvent("block", height, {}))

        await in_thread(listen)
        assert services.hub.subscribers == 0


@pytest.mark.trio
async def test_a_client_that_stops_reading_is_cut_off_and_does_not_hold_the_end_up(tmp_path):
    services = LoneServices(hub=EventHub(queued_max=10_000))
    settings = settings_in(tmp_path, stall_s=0.3)
    with trio.fail_after(20):
        async with served(services, settings) as addresses:
            readers = []
            for _ in range(2):
                stream = await trio.open_unix_socket(addresses.socket)
                await stream.send_all(b"GET /events?topics=block HTTP/1.1\r\nhost: x\r\n\r\n")
                assert b"200" in await stream.receive_some(65_536)
                readers.append(stream)
                # Megabytes into a socket that nobody empties; the second reader is left for the shutdown.
                while services.hub.subscribers < len(readers):
                    await trio.sleep(0.01)
                for height in range(100):
                    services.hub.publish(NodeEvent("block", height, {"filler": "x" * 50_000}))
                if len(readers) == 1:
                    while services.hub.subscribers:
                        await trio.sleep(0.01)
                    readers.pop()
                    await stream.aclose()
                    break
            stuck = await trio.open_unix_socket(addresses.socket)
            await stuck.send_all(b"GET /events?topics=block HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200" in await stuck.receive_some(65_536)
            for height in range(100):
                services.hub.publish(NodeEvent("block", height, {"filler": "x" * 50_000}))
            await trio.testing.wait_all_tasks_blocked()
        # Leaving the block did not wait for the reader.
        await stuck.aclose()


@pytest.mark.trio
async def test_a_websocket_answers_calls_and_tells_events(services, tmp_path):
    async with served(services, settings_in(tmp_path)) as addresses:
        url = addresses.http.replace("http", "ws") + "/ws"
        headers = [("authorization", f"Bearer {addresses.cookie.read_text()}")]
        async with open_websocket_url(url, extra_headers=headers) as ws:

            async def call(method, **params):
                await ws.send_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
                return json.loads(await ws.get_message())

            assert (await call("version"))["result"]["pid"] == os.getpid()
            assert (await call("subscribe", topics=["bloc"]))["error"]["data"]["code"] == "invalid_params"
            assert (await call("subscribe", topics=[]))["error"]["data"]["code"] == "invalid_params"
            number = (await call("subscribe", topics=["block"]))["result"]["subscription"]
            services.make_block()
            event = json.loads(await ws.get_message())
            assert event["method"] == "event"
            assert (event["params"]["subscription"], event["params"]["height"]) == (number, 1)
            assert (await call("unsubscribe", subscription=number))["result"] == {"subscription": number}
            assert (await call("unsubscribe", subscription=number))["error"]["data"]["code"] == "not_found"
            services.make_block()
            await ws.send_message("{")
            assert json.loads(await ws.get_message())["error"]["data"]["code"] == "parse_error"
        for bad in ([], [("authorization", "Bearer x")], [*headers, ("origin", "http://evil.example")]):
            with pytest.raises(HandshakeError):
                async with open_websocket_url(url, extra_headers=bad):
                    pass
        with trio.fail_after(5):
            while services.hub.subscribers:
                await trio.sleep(0.01)


@pytest.mark.trio
async def test_a_slow_websocket_gets_an_error_and_is_closed(tmp_path):
    services = LoneServices(hub=EventHub(queued_max=4))
    async with served(services, settings_in(tmp_path)) as addresses:
        url = addresses.http.replace("http", "ws") + "/ws"
        headers = [("authorization", f"Bearer {addresses.cookie.read_text()}")]
        async with open_websocket_url(url, extra_headers=headers) as ws:
            subscribe = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topics": ["block"]}}
            await ws.send_message(json.dumps(subscribe))
            assert "result" in json.loads(await ws.get_message())
            for height in range(100):
                services.hub.publish(NodeEvent("block", height, {}))
            told = []

            async def listen():
                while True:
                    told.append(json.loads(await ws.get_message()))

            with pytest.raises(ConnectionClosed) as caught:
                await listen()
            assert told[-1]["method"] == "event.error"
            assert told[-1]["params"]["data"]["code"] == "slow_subscriber"
            assert caught.value.reason.code == 1013


@pytest.mark.trio
async def test_subscribing_by_post_says_where_to_go(services, tmp_path):
    async with served(services, settings_in(tmp_path)):
        with RpcClient(tmp_path) as client, pytest.raises(RpcError, match="/events") as caught:
            await in_thread(partial(client.call, "subscribe", topics=["block"]))
        assert caught.value.kind.word == "needs_stream"


@pytest.mark.trio
async def test_stop_is_answered_before_the_node_stops(services, tmp_path):
    async with served(services, settings_in(tmp_path)):
        with RpcClient(tmp_path) as client:
            assert (await in_thread(client.call, "stop"))["stopping"] is True
        with trio.fail_after(5):
            await services.stopped.wait()


@pytest.mark.trio
async def test_a_left_over_socket_is_replaced_a_deep_folder_reached_and_another_file_spared(services, tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    left_over = socket.socket(socket.AF_UNIX)
    os.chdir(deep)
    left_over.bind("rpc.sock")
    left_over.close()
    os.chdir(REPOSITORY)
    async with served(services, settings_in(deep)):
        with RpcClient(deep) as client:
            assert (await in_thread(client.call, "version"))["pid"] == os.getpid()
    (tmp_path / "rpc.sock").write_text("somebody's notes")
    with pytest.raises(CannotListen, match="another file"):
        await serve_rpc(services, settings_in(tmp_path))
    assert (tmp_path / "rpc.sock").read_text() == "somebody's notes"


@pytest.mark.trio
async def test_a_taken_port_is_named(services, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=listen):
            await serve_rpc(services, settings_in(tmp_path, listen=listen))
    assert not (tmp_path / ".cookie").exists()


def test_a_node_that_does_not_run_is_unreachable_and_a_stranger_no_node(tmp_path):
    with pytest.raises(NodeUnreachable, match=r"no rpc\.json"):
        RpcClient(tmp_path)
    with RpcClient(f"unix:{tmp_path}/none.sock") as client, pytest.raises(NodeUnreachable, match="running"):
        client.call("version")
    with pytest.raises(NodeUnreachable, match="cookie"):
        RpcClient("http://127.0.0.1:1", cookie_file=tmp_path / ".cookie")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        client = RpcClient(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.1)
        with client, pytest.raises((NodeUnreachable, InvalidAnswer)):
            client.get("/healthz")


def test_the_interface_needs_neither_libp2p_nor_torch():
    look = (
        "import sys; import node.rpc.server\n"
        "print(sorted({'libp2p', 'torch', 'plyvel', 'numpy', 'httpx', 'multiaddr'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
