#!/usr/bin/env bash
# Makes sure that what pip compiles can be compiled: a C compiler, the headers of this Python and those of GMP
# (fastecdsa, which libp2p depends on, has no wheel for every platform). Usage: system-packages.sh PYTHON
#
# Installs what is missing on Debian and its kin when run as root, otherwise says what to install and exits 1.
# Keeps out: everything pip does (see the Makefile).
set -euo pipefail

python="$1"

# One real compilation asks all questions at once: compiler, libc, Python.h, gmp.h and the library to link with.
can_compile() {
    local include scratch
    include="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    scratch="$(mktemp -d)"
    printf '#include <Python.h>\n#include <gmp.h>\nint main(void) { mpz_t n; mpz_init(n); return 0; }\n' >"$scratch/probe.c"
    local status=0
    "${CC:-cc}" -I"$include" -o "$scratch/probe" "$scratch/probe.c" -lgmp 2>"$scratch/errors" || status=1
    [ "$status" -eq 0 ] || complaint="$(head -n 1 "$scratch/errors")"
    rm -rf "$scratch"
    return "$status"
}

can_make_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null
}

complaint=""
missing=()
can_compile || missing+=(gcc libc6-dev libgmp-dev)
can_make_venv || missing+=(python3-venv)
[ "${#missing[@]}" -gt 0 ] || exit 0

# Only Debian's own Python takes its headers from a package; one built by pyenv or alike brings them along.
case "$("$python" -c 'import sys; print(sys.base_prefix)')" in
    /usr) missing+=(python3-dev) ;;
esac

if [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; then
    echo "Installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
    complaint=""
    if can_compile && can_make_venv; then exit 0; fi
    echo "Still not enough after the installation: ${complaint:-$python cannot make virtual environments}" >&2
    exit 1
fi

cat >&2 <<TEXT
Hanse needs a C compiler, the headers of $python and the GMP library to install libp2p.
What is missing: ${complaint:-$python cannot make virtual environments (module ensurepip)}
Install it and run make again:
  Debian, Ubuntu   sudo apt-get install ${missing[*]}
  Fedora           sudo dnf install gcc gmp-devel python3-devel
TEXT
exit 1
