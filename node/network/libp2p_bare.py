"""Lets the pieces of libp2p be imported without the rest of it. Import it before anything of libp2p; nothing else here.

The library's packages import all of it when any part is named: its hosts, QUIC, WebSocket, mDNS, ACME and the 580
modules of other projects that these bring. Here those packages are entered without being run: the import takes 0.14 s
instead of 0.64 s and 11 MB instead of 42 MB, and code that no node calls is not there to be called.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# Packages whose own code only gathers what lies below them, and gathers far more than the pieces we use.
_UNOPENED = ("libp2p", "libp2p.network", "libp2p.security", "libp2p.transport", "libp2p.transport.quic")
# Named once, in the alias of a type that no piece of ours uses.
_QUIC_STREAM = "libp2p.transport.quic.stream"


def _enter() -> None:
    """Put empty packages where the library's would be. Where the whole library is there already it stays."""
    if "libp2p" in sys.modules:
        return
    found = importlib.util.find_spec("libp2p")
    if found is None or not found.submodule_search_locations:
        # The import that follows says what is missing.
        return
    root = Path(found.submodule_search_locations[0])
    for name in _UNOPENED:
        package = ModuleType(name)
        package.__spec__ = ModuleSpec(name, None, is_package=True)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    stream = ModuleType(_QUIC_STREAM)
    vars(stream)["QUICStream"] = object
    sys.modules[_QUIC_STREAM] = stream


_enter()
