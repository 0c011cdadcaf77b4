"""Who may speak to the node: the cookie, the Host header, the Origin header. As Bitcoin Core does it.

On the Unix socket the file's mode (0600) decides, and none of this is asked.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from node.disk import publish_file
from node.rpc.errors import RpcError

COOKIE_USER = "__cookie__"


def new_cookie(path: Path) -> str:
    """Draw 32 random bytes, write them as hex where only this user reads them, return them. Raises OSError."""
    cookie = secrets.token_hex(32)
    publish_file(path, cookie.encode(), mode=0o600)
    return cookie


def check_host(headers: Mapping[str, str], hosts: tuple[str, ...]) -> None:
    """Raises RpcError("forbidden") when a browser was led here under another name, or from another site's page."""
    host = headers.get("host", "")
    if _host_name(host) not in hosts:
        raise RpcError("forbidden", f"Host: got {host[:80]!r}, want {' or '.join(hosts)}")
    origin = headers.get("origin")
    # No cross-origin calls at all, so a page has to come from the very address it calls.
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise RpcError("forbidden", f"Origin: got {origin[:80]!r}, want a page of this node")


def check_cookie(headers: Mapping[str, str], cookie: str) -> None:
    """Bearer or Basic. Raises RpcError("unauthorized")."""
    given = headers.get("authorization")
    if given is None:
        raise RpcError("unauthorized", "no Authorization header: want the cookie of this run")
    scheme, _, credential = given.partition(" ")
    credential = credential.strip()
    if scheme.lower() == "basic":
        try:
            user, _, credential = base64.b64decode(credential, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, credential = "", ""
        if user != COOKIE_USER:
            credential = ""
    elif scheme.lower() != "bearer":
        credential = ""
    # Constant time: the answer's speed says nothing about how many characters were right.
    if not hmac.compare_digest(credential.encode("utf-8", "replace"), cookie.encode()):
        raise RpcError("unauthorized", "the Authorization header does not hold the cookie of this run")


def _host_name(host: str) -> str:
    """`127.0.0.1:4002` -> `127.0.0.1`, `[::1]:4002` -> `[::1]`."""
    name = host.lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]
