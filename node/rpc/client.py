"""The client of the local interface, for the command line and for tests: calls, batches, events. Synchronous.

It finds a running node by its data directory (rpc.json), by `unix:<path>` or by `http://host:port` with a cookie.
"""

import itertools
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from node.rpc.errors import BY_WORD, ErrorKind, RpcError

# Waiting for finality is bounded by the node; this bounds a node that does not answer at all.
TIMEOUT_S = 30.0
# How much longer than the node's own limit we wait, so that the node's word comes first.
_GRACE_S = 10.0
_UNIX_PATH_BYTES_MAX = 107


class NodeUnreachable(Exception):
    """No node answers there: it does not run, or its address is another. The text says where was tried."""


class InvalidAnswer(Exception):
    """What answered is no Hanse node, or its answer was cut short."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its topic ("subscribed" first), the head's height and its data."""

    topic: str
    height: int
    data: Mapping[str, Any]


class RpcClient:
    """`target`: a data directory, `unix:<path>` or `http://host:port`. Use it in `with`, or close it.

    `cookie`: for HTTP; read from `cookie_file` when not given. Every call may raise NodeUnreachable, InvalidAnswer and
    RpcError.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        cookie: str | None = None,
        cookie_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._folder: int | None = None
        socket, url = _find(target)
        self.address = f"unix:{socket}" if socket else url
        headers = {"content-type": "application/json"}
        transport = None
        if socket is not None:
            transport = httpx.HTTPTransport(uds=self._reachable(socket))
        else:
            if cookie is None and cookie_file is not None:
                cookie = _read_cookie(cookie_file)
            if cookie:
                headers["authorization"] = f"Bearer {cookie}"
        # A proxy of the environment has nothing to do with our own machine.
        self._http = httpx.Client(
            base_url=url, headers=headers, transport=transport, timeout=timeout_s, trust_env=False
        )

    def __enter__(self) -> "RpcClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def call(self, method: str, **params: Any) -> Any:
        """The result of one method. Raises RpcError when the node says no."""
        request = self._request(method, params)
        return _result(self._post(request, self._patience([params])))

    def batch(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        """The results of several calls, in order; an RpcError instance where one was refused."""
        if not calls:
            return []
        requests = [self._request(method, params) for method, params in calls]
        responses = self._post(requests, self._patience([params for _, params in calls]))
        if not isinstance(responses, list):
            _result(responses)
            raise InvalidAnswer(f"{self.address}: one answer to a batch of {len(calls)}")
        by_id = {response.get("id"): response for response in responses if isinstance(response, dict)}
        results = []
        for request in requests:
            try:
                results.append(_result(by_id[request["id"]]))
            except KeyError:
                raise InvalidAnswer(f"{self.address}: a call of the batch was not answered") from None
            except RpcError as error:
                results.append(error)
        return results

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET: /healthz, /readyz, /metrics, /openrpc.json."""
        with self._reaching():
            response = self._http.get(path)
        return response.status_code, response.content

    @contextmanager
    def events(self, *topics: str) -> Iterator[Iterator[Event]]:
        """`with client.events("block") as events: for event in events: ...`

        Inside the `with` the subscription stands: nothing that happens from now on is missed. Iterating raises RpcError
        ("slow_subscriber") when we fell behind, NodeUnreachable when the node went away, and ends when the node stops.
        """
        with self._reaching():
            request = self._http.build_request(
                "GET", "/events", params={"topics": ",".join(topics)}, timeout=httpx.Timeout(self._timeout_s)
            )
            response = self._http.send(request, stream=True)
        try:
            if response.status_code != 200:
                with self._reaching():
                    response.read()
                _result(self._parse(response))
                raise InvalidAnswer(f"{self.address}: /events answered {response.status_code}")
            lines = self._lines(response)
            # The node's first line says that the subscription stands.
            next(lines)
            yield lines
        finally:
            response.close()

    def _lines(self, response: httpx.Response) -> Iterator[Event]:
        name = ""
        with self._reaching():
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = json.loads(value)
                    if name == "error":
                        raise _error(data)
                    if name == "end":
                        return
                    if name == "subscribed":
                        yield Event(name, data["head"]["height"], data)
                    else:
                        yield Event(data["topic"], data["height"], data["data"])

    def _request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            number = next(self._ids)
        given = {name: value for name, value in params.items() if value is not None}
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": given}

    def _patience(self, params: Sequence[Mapping[str, Any]]) -> float:
        """As long as the longest wait that was asked for."""
        waits = [float(each["timeout_s"]) for each in params if isinstance(each.get("timeout_s"), int | float)]
        return max([self._timeout_s, *waits]) + _GRACE_S

    def _post(self, content: Any, timeout_s: float) -> Any:
        with self._reaching():
            response = self._http.post("/", content=json.dumps(content).encode(), timeout=timeout_s)
        return self._parse(response)

    def _parse(self, response: httpx.Response) -> Any:
        try:
            return json.loads(response.content)
        except ValueError:
            text = f"{self.address}: HTTP {response.status_code} and {len(response.content)} bytes that are no JSON"
            raise InvalidAnswer(text) from None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise NodeUnreachable(f"{self.address}: no answer in time") from None
        except httpx.RemoteProtocolError as error:
            raise InvalidAnswer(f"{self.address}: {error}") from None
        except (httpx.TransportError, OSError) as error:
            raise NodeUnreachable(f"{self.address}: {error}; is the node running?") from None

    def _reachable(self, socket: Path) -> str:
        """The socket's name, short enough for a socket address (unix(7): 108 bytes)."""
        if len(os.fsencode(socket)) <= _UNIX_PATH_BYTES_MAX:
            return str(socket)
        try:
            self._folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise NodeUnreachable(f"{socket}: {error.strerror}; is the node running?") from None
        return f"/proc/self/fd/{self._folder}/{socket.name}"


def _find(target: str | Path) -> tuple[Path | None, str]:
    """Socket path (None for HTTP) and base URL. Raises NodeUnreachable when a data directory has no running node."""
    text = str(target)
    if text.startswith(("http://", "https://")):
        return None, text.rstrip("/")
    if text.startswith("unix:"):
        return Path(text.removeprefix("unix:")), "http://localhost"
    file = Path(target) / "rpc.json"
    try:
        return Path(json.loads(file.read_bytes())["socket"]), "http://localhost"
    except FileNotFoundError:
        raise NodeUnreachable(f"no node runs on {target}: there is no {file.name} in it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NodeUnreachable(f"{file}: {error}") from None


def _read_cookie(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise NodeUnreachable(f"cookie {path}: {error.strerror}; is the node running?") from None


def _result(response: Any) -> Any:
    if not isinstance(response, dict) or not ("result" in response or isinstance(response.get("error"), dict)):
        raise InvalidAnswer("the answer is no JSON-RPC response")
    if "result" in response:
        return response["result"]
    raise _error(response["error"])


def _error(error: Mapping[str, Any]) -> RpcError:
    """The node's error as it was raised there; a word of a newer node is kept as it came."""
    details = dict(error.get("data") or {})
    word = str(details.pop("code", "internal"))
    raised = RpcError("internal", str(error.get("message", "")), **details)
    raised.kind = BY_WORD.get(word) or ErrorKind(int(error.get("code", -32603)), word, "", "")
    return raised
