"""The configuration is read whole or refused whole, and a refusal names file, section, key, what came and what not."""

from pathlib import Path

import pytest

from node.config import Config, ConfigError, config_values, load_config, parse_config
from node.config_check import missing_files
from node.config_template import config_template
from node.disk import publish_file
from node.identity import create_key, peer_id
from node.toml_rules import rules_of

PEER = "12D3KooWLuFsLfvqHBdVjDmSnN2Pgub8qu8Boxf2muVwHgRUvMiR"
MINIMAL = '[node]\nname = "Alice"\n'


def read(text: str, **environment: str) -> Config:
    return parse_config(MINIMAL + text, Path("/league/alice/config.toml"), environment)


def test_the_least_configuration_has_every_default() -> None:
    config = read("")
    assert config.node.data_dir == Path("/league/alice")
    assert config.key.file == Path("/league/alice/key.pem")
    assert config.genesis.file == Path("/league/alice/genesis.json")
    assert config.rpc.socket == Path("/league/alice/rpc.sock")
    assert config.rpc.cookie_file == Path("/league/alice/.cookie")
    assert (config.rpc.host, config.rpc.port) == ("127.0.0.1", 4002)
    assert config.consensus.view_timeout_ms == 2000
    assert not config.training.offers("bearing-simulator")
    assert {origin.source for origin in config.origins if origin.key != "name"} == {"default"}


def test_paths_count_from_the_folder_of_the_file_and_defaults_from_the_data_folder() -> None:
    config = parse_config(
        '[node]\nname = "A"\ndata_dir = "data"\n[key]\nfile = "keys/a.pem"\n', Path("/league/alice/config.toml")
    )
    assert config.node.data_dir == Path("/league/alice/data")
    assert config.key.file == Path("/league/alice/keys/a.pem")
    assert config.genesis.file == Path("/league/alice/data/genesis.json")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[nodes]\n", ["has no nodes", "did you mean node?"]),
        ("[rpc]\nlistne = 'x'\n", ["[rpc]", "has no listne", "did you mean listen?"]),
        ("[rpc]\nzzz = 1\n", ["[rpc]", "has no zzz", "it has listen, allow_remote"]),
        ("[rpc]\nbatch_max = 'many'\n", ["[rpc] batch_max is 'many'", "a whole number from 1 to 10000"]),
        ("[rpc]\nbatch_max = true\n", ["[rpc] batch_max is True", "a whole number"]),
        ("[rpc]\nbatch_max = 1.5\n", ["[rpc] batch_max is '1.5'"]),
        ("[rpc]\nbatch_max = 0\n", ["[rpc] batch_max is 0", "from 1 to 10000"]),
        ("[rpc]\nallow_remote = 1\n", ["[rpc] allow_remote is 1", "true or false"]),
        ("[rpc]\nlisten = 4002\n", ["[rpc] listen is 4002", "text of"]),
        ("[rpc]\nlisten = '127.0.0.1'\n", ["[rpc] listen is '127.0.0.1'", "host:port"]),
        ("[rpc]\nlisten = '127.0.0.1:65536'\n", ["[rpc] listen", "host:port"]),
        ("[rpc]\nsocket = ''\n", ["[rpc] socket is ''", "want a path"]),
        ("[network]\nlisten = '/ip4/0.0.0.0/tcp/1'\n", ["[network] listen", "a list of"]),
        ("[network]\nlisten = []\n", ["[network] listen is empty"]),
        ("[network]\nlisten = ['/ip4/1.2.3/tcp/1']\n", ["[network] listen", "1.2.3"]),
        ("[network]\nlisten = ['/dns4/a.example/tcp/1']\n", ["[network] listen", "want an ip4 or ip6 address"]),
        (f"[network]\nlisten = ['/ip4/127.0.0.1/tcp/1/p2p/{PEER}']\n", ["[network] listen", "names a peer"]),
        ("[network]\nannounce = ['/ip4/0.0.0.0/tcp/1']\n", ["[network] announce: nobody can dial"]),
        ("[network]\nannounce = ['/ip4/10.0.0.5/tcp/0']\n", ["[network] announce: nobody can dial"]),
        ("[network]\nbootstrap = ['/ip4/10.0.0.5/tcp/1']\n", ["[network] bootstrap", "want it to end in /p2p/"]),
        (f"[network]\nbootstrap = ['/ip4/10.0.0.5/tcp/0/p2p/{PEER}']\n", ["[network] bootstrap", "port 0"]),
        ("[network]\nlisten = ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/1']\n", ["[network] listen names", "twice"]),
        ("[network]\nping_every_ms = 9000\n", ["[network] silence_ms is 8000", "more than ping_every_ms (9000)"]),
        ("[rpc]\nlisten = '0.0.0.0:4002'\n", ["[rpc] listen is '0.0.0.0:4002'", "allow_remote = true"]),
        ("[rpc]\nlisten = 'node.example:4002'\n", ["[rpc] listen", "allow_remote = true"]),
        ("[rpc]\nlisten = '127.0.0.1:4001'\n", ["[rpc] listen and [network] listen are both on port 4001"]),
        ("[consensus]\nresend_ms = 2000\n", ["[consensus] resend_ms is 2000", "less than view_timeout_ms (2000)"]),
        ("[consensus]\ngrace_ms = 2500\n", ["[consensus] grace_ms is 2500", "less than view_timeout_ms"]),
        ("[training]\noffer = 'all'\n", ["[training] offer", "[data] source names no data"]),
        ("[training]\noffer = 'some'\n", ["[training] offer is 'some'", "'ask' or 'all', or a list"]),
        ("[data]\nsource = 'cwru'\n[training]\noffer = ['ims']\n", ["[training] offer lists ims", "of type cwru"]),
        ("[data]\npath = 'x'\n", ["[data] path is set and [data] source is not"]),
        ("[data]\nsettings = { seed = 1 }\n", ["[data] settings is set and [data] source is not"]),
        ("[data]\nsource = 'cwru'\nperiod_seconds = 5\n", ["period_records and period_seconds are both set"]),
        ("[data]\nsource = 'cwru'\nperiod_records = 0\n", ["period_records and period_seconds are both 0"]),
        ("[data]\nsource = 'cwru'\nsettings = { a = [1] }\n", ["[data] settings", "a table of at most"]),
        ("[key]\npassphrase_file = 'away'\n", ["[key] passphrase_file", "/league/alice/away", "there is no"]),
        ("[storage]\nblob_bytes_max = 1\n", ["[storage] blob_bytes_max is 1"]),
        ("rpc = 5\n", ["[node] has no rpc"]),
        ('[data]\nsource = "a\\u0007b"\n', ["[data] source", "on one line"]),
        ("[node]\n", ["is not TOML"]),
    ],
)
def test_a_wrong_setting_names_itself(text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    said = str(caught.value)
    assert said.startswith("/league/alice/config.toml:")
    for name in names:
        assert name in said
    assert len(said) < 500


def test_what_looks_like_a_contradiction_and_is_none_is_read() -> None:
    assert read("[rpc]\nlisten = '0.0.0.0:4002'\nallow_remote = true\n").rpc.host == "0.0.0.0"
    assert read("[rpc]\nlisten = '[::1]:4002'\n").rpc.host == "::1"
    assert read("[rpc]\nlisten = '127.0.0.1:0'\n[network]\nlisten = ['/ip4/127.0.0.1/tcp/0']\n").rpc.port == 0
    other = "[rpc]\nlisten = '127.0.0.1:4001'\n[network]\nlisten = ['/ip4/10.0.0.5/tcp/4001']\n"
    assert read(other).rpc.port == 4001
    timed = read("[data]\nsource = 'cwru'\nperiod_records = 0\nperiod_seconds = 60\n")
    assert timed.data.data_type == "cwru"
    typed = read("[data]\nsource = 'cwru'\ntype = 'bearing'\n[training]\noffer = ['bearing']\n")
    assert typed.training.offers("bearing")
    assert not typed.training.offers("cwru")


def test_the_missing_name_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"\[node\] name is missing"):
        parse_config("", Path("config.toml"))


def test_settings_of_a_source_stay_the_text_that_was_written() -> None:
    config = read("[data]\nsource = 'cwru'\nsettings = { load = 0, share = 0.10, raw = true, mode = 'x' }\n")
    assert dict(config.data.settings) == {"load": "0", "share": "0.10", "raw": "true", "mode": "x"}


def test_the_environment_overrides_and_says_so() -> None:
    config = read(
        "[rpc]\nbatch_max = 7\n",
        HANSE_RPC_LISTEN="127.0.0.1:0",
        HANSE_RPC_BATCH_MAX="9",
        HANSE_NETWORK_BOOTSTRAP=f"/ip4/10.0.0.5/tcp/1/p2p/{PEER}, /ip4/10.0.0.6/tcp/1/p2p/{PEER}",
        HANSE_METRICS_ENABLED="false",
        HANSE_DATA_SOURCE="cwru",
        HANSE_TRAINING_OFFER="all",
        HANSE_CONFIG="not a setting",
        PATH="neither",
    )
    assert (config.rpc.port, config.rpc.batch_max, config.metrics.enabled) == (0, 9, False)
    assert len(config.network.bootstrap) == 2
    assert config.training.offer == "all"
    sources = {(origin.section, origin.key): origin.source for origin in config.origins}
    assert sources["rpc", "batch_max"] == "HANSE_RPC_BATCH_MAX"
    assert sources["node", "name"] == "file"


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("HANSE_RPC_LISTNE", "x", ["HANSE_RPC_LISTNE", "[rpc]", "did you mean listen?"]),
        ("HANSE_RPC_BATCH_MAX", "many", ["HANSE_RPC_BATCH_MAX", "'many'", "a whole number"]),
        ("HANSE_RPC_BATCH_MAX", "0", ["[rpc] batch_max is 0"]),
        ("HANSE_METRICS_ENABLED", "yes", ["HANSE_METRICS_ENABLED", "true or false"]),
        ("HANSE_DATA_SETTINGS", "{}", ["HANSE_DATA_SETTINGS", "a table"]),
    ],
)
def test_a_wrong_variable_names_itself(variable: str, value: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read("", **{variable: value})
    for name in names:
        assert name in str(caught.value)


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "away.toml", {})
    for content in (b"\xff\xfe", b"[node\n", b"x" * 300_000, b"a = " + b"[" * 5000):
        (tmp_path / "config.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"config\.toml: "):
            load_config(tmp_path / "config.toml", {})


def test_the_template_is_a_configuration_and_so_are_its_comments() -> None:
    template = config_template({"node": {"name": 'Alice "Bearings" \\ Söhne'}})
    config = parse_config(template, Path("/league/alice/config.toml"))
    assert config.node.name == 'Alice "Bearings" \\ Söhne'
    assert {origin.key for origin in config.origins if origin.source == "file"} == {"name"}
    keys = {key for section in config_values(config).values() for key in section}
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in keys else line
        for line in template.splitlines()
    ]
    spelt_out = parse_config("\n".join(lines), Path("/league/alice/config.toml"))
    assert {origin.source for origin in spelt_out.origins} == {"file"}
    assert config_values(spelt_out) == config_values(config)


def test_every_setting_says_what_it_means() -> None:
    from node.config import SECTIONS

    for section, kind in SECTIONS.items():
        assert kind.__doc__, section
        assert set(rules_of(kind)) == set(kind.__dataclass_fields__), section
        assert all(rule.meaning for rule in rules_of(kind).values()), section


def test_files_that_a_start_needs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + "[data]\nsource = 'cwru'\npath = 'cwru'\n")
    config = load_config(path, {})
    problems = " ".join(missing_files(config))
    assert "[key] file" in problems
    assert "[genesis] file" in problems
    assert "[data] path" in problems
    create_key(tmp_path / "key.pem")
    (tmp_path / "cwru").mkdir()
    publish_file(tmp_path / "genesis.json", b"{}")
    assert list(missing_files(config)) == []


def test_a_passphrase_file_that_others_can_read_stops_the_node(tmp_path: Path) -> None:
    publish_file(tmp_path / "secret", b"geheim\n", mode=0o644)
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + "[key]\npassphrase_file = 'secret'\n")
    with pytest.raises(ConfigError, match=r"\[key\] passphrase_file.*chmod 600"):
        load_config(path, {})
    (tmp_path / "secret").chmod(0o600)
    assert load_config(path, {}).key.passphrase_file == tmp_path / "secret"


def test_sections_become_the_settings_of_what_they_configure() -> None:
    config = read("[network]\nsilence_ms = 6000\nstrangers_max = 2\n[rpc]\nbatch_max = 9\ntimeout_ms = 5000\n")
    limits = config.network.transport_limits()
    assert (limits.silence_s, limits.strangers_max, limits.dial_s) == (6.0, 2, 8.0)
    settings = config.rpc.settings(config.node.data_dir)
    assert (settings.batch_calls_max, settings.call_s, settings.socket) == (9, 5.0, config.rpc.socket)
    assert settings.hosts == ("127.0.0.1", "localhost", "[::1]")
    remote = read("[rpc]\nlisten = '10.0.0.5:4002'\nallow_remote = true\n")
    assert "10.0.0.5" in remote.rpc.settings(Path()).hosts


def test_peer_of_the_examples_is_one() -> None:
    from node.identity import key_from_text

    assert peer_id(key_from_text(PEER)) == PEER
