"""The proxies of the end-to-end runs cut what they are told to and nothing else, on real sockets."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.e2e.proxies import Proxies, across

# Long enough that a byte which is let through would be here.
SILENCE_S = 0.3
PATIENCE_S = 10.0


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(1024):
                connection.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def proxies(echo: int) -> Iterator[Proxies]:
    """This process is alice; bob and carol are two names for the server."""
    with Proxies({"bob": echo, "carol": echo}, lambda: {os.getpid(): "alice"}) as running:
        yield running


def connect(proxies: Proxies, name: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", proxies.ports[name]), timeout=PATIENCE_S)
    stream.settimeout(PATIENCE_S)
    return stream


def says(stream: socket.socket, word: bytes) -> bytes:
    stream.sendall(word)
    return stream.recv(1024)


def is_silent(stream: socket.socket) -> bool:
    stream.settimeout(SILENCE_S)
    try:
        stream.recv(1024)
    except TimeoutError:
        return True
    finally:
        stream.settimeout(PATIENCE_S)
    return False


def test_a_silent_cut_holds_bytes_back_and_gives_them_up_when_healed(proxies: Proxies) -> None:
    with connect(proxies, "bob") as bob, connect(proxies, "carol") as carol:
        assert says(bob, b"one") == b"one"
        proxies.cut(across([["alice", "carol"], ["bob"]]))
        bob.sendall(b"two")
        assert is_silent(bob)
        assert says(carol, b"still here") == b"still here"
        with connect(proxies, "bob") as late:
            late.sendall(b"three")
            assert is_silent(late)
            proxies.heal()
            assert late.recv(1024) == b"three"
        assert bob.recv(1024) == b"two"


def test_a_reset_ends_connections_and_new_ones_hang(proxies: Proxies) -> None:
    with connect(proxies, "bob") as bob, connect(proxies, "carol") as carol:
        assert says(bob, b"one") == b"one"
        assert says(carol, b"one") == b"one"
        proxies.cut(across([["alice", "carol"], ["bob"]]), reset=True)
        with suppress(ConnectionError):
            assert bob.recv(1024) == b""
        assert says(carol, b"two") == b"two"
        with connect(proxies, "bob") as again:
            again.sendall(b"hello")
            assert is_silent(again)


def test_one_direction_can_be_cut_alone(proxies: Proxies) -> None:
    with connect(proxies, "bob") as bob:
        assert says(bob, b"one") == b"one"
        proxies.cut({("bob", "alice")})
        bob.sendall(b"heard, and not answered")
        assert is_silent(bob)
        proxies.heal()
        assert bob.recv(1024) == b"heard, and not answered"


def test_who_is_no_node_of_the_league_is_not_let_through(echo: int) -> None:
    with Proxies({"bob": echo}, dict) as proxies, connect(proxies, "bob") as stranger:
        with suppress(ConnectionError):
            stranger.sendall(b"hello")
            assert stranger.recv(1024) == b""
