#!/bin/sh
# Create .venv with the pinned packages. Report what the machine lacks in one line.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "install: $1" >&2; exit 1; }

python=
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "needs Python 3.11 or newer ($(python3 --version 2>/dev/null || echo none) found); install one, or name it: make install PYTHON=/path/to/python"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: apt-get install $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
free_mib=$(df -Pm . | awk 'NR == 2 {print $4}')
[ ! -d .venv ] || free_mib=$((free_mib + $(du -sk .venv | cut -f 1) / 1024)) # what it replaces
[ "$free_mib" -ge 8000 ] || fail "needs 8 GB of free disk for packages and results, $(pwd) has $free_mib MB; free some, or clone to a larger disk"

printf 'Installing the pinned packages into .venv (6 GB, about two minutes) '
rm -f .venv/installed .venv/lock.*
"$python" -m venv .venv
log=.venv/install.log
# The lock file is complete, so pip need not resolve.
install() {
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-deps "$@" >"$log" 2>&1; then
        echo
        grep -v '^WARNING' "$log" | tail -n 5 >&2
        fail "pip failed (above; the whole log is $log); fix the cause and run the same command again"
    fi
    printf .
}
# pip keeps what a call downloads until all of it is installed: in parts it needs 2 GB less for that.
split -l 50 requirements.lock .venv/lock.
for part in .venv/lock.*; do install -r "$part"; done
rm .venv/lock.*
install -e .
echo
touch .venv/installed
