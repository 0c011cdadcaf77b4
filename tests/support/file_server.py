"""A server of files on a real socket that does what servers do on bad days: cut, redirect, ignore ranges, lie."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", bytes, int], None]
"""(handler, the file's bytes, the first byte that is asked for)"""


@dataclass
class FileServer:
    """`files` by path. `days`: what is done to the next requests, one each; after that everything is well."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    days: list[Answer] = field(default_factory=list)
    # (path, first byte asked for) of every request.
    asked: list[tuple[str, int]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: FileServer

    def do_GET(self) -> None:
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.served.asked.append((self.path, first))
        content = self.served.files.get(self.path)
        if content is None:
            self.reply(404, b"no such file")
        elif self.served.days:
            self.served.days.pop(0)(self, content, first)
        else:
            well(self, content, first)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def well(handler: Handler, content: bytes, first: int) -> None:
    if first >= len(content) > 0 and "Range" in handler.headers:
        handler.reply(416, b"", Content_Range=f"bytes */{len(content)}")
    elif "Range" in handler.headers:
        said = f"bytes {first}-{len(content) - 1}/{len(content)}"
        handler.reply(206, content[first:], Content_Range=said)
    else:
        handler.reply(200, content)


def cut_after(count: int) -> Answer:
    """So many bytes of what is asked for, and the connection is gone."""

    def answer(handler: Handler, content: bytes, first: int) -> None:
        status = 206 if "Range" in handler.headers else 200
        handler.send_response(status)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        handler.send_header("Content-Length", str(len(content) - first))
        handler.end_headers()
        handler.wfile.write(content[first : first + count])
        handler.close_connection = True

    return answer


def without_ranges(handler: Handler, content: bytes, first: int) -> None:
    handler.reply(200, content)


def without_length(handler: Handler, content: bytes, first: int) -> None:
    """To the end of the connection, as old servers do."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(content)
    handler.close_connection = True


def of_another_place(handler: Handler, content: bytes, first: int) -> None:
    handler.reply(206, content, Content_Range=f"bytes 1-{len(content)}/{len(content)}")


def redirect_to(url: str) -> Answer:
    return lambda handler, content, first: handler.reply(302, b"", Location=url)


def failing(status: int) -> Answer:
    return lambda handler, content, first: handler.reply(status, b"out of order")


def instead(other: bytes) -> Answer:
    """Other bytes of any length, sent as if they were the file."""
    return lambda handler, content, first: well(handler, other, first)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        # Who has enough of an answer hangs up; anything else is a fault of the server.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def stalling_after(count: int, until: threading.Event) -> Answer:
    """So many bytes of what is asked for, and then nothing for long."""

    def answer(handler: Handler, content: bytes, first: int) -> None:
        cut_after(count)(handler, content, first)
        handler.wfile.flush()
        until.wait(60)

    return answer


@contextmanager
def file_server(**files: bytes) -> Iterator[FileServer]:
    """Serves `files` by name at http://127.0.0.1:port/."""
    served = FileServer(files={f"/{name}": content for name, content in files.items()})
    server = _Server(("127.0.0.1", 0), type("Bound", (Handler,), {"served": served}))
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
