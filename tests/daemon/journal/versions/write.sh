#!/bin/sh
# Writes NAME.sql beside this file: the journal of a state folder as the bridge of one commit of this
# repository left it, killed while its platform was away. Once for each version of the journal:
#
#   tests/daemon/journal/versions/write.sh NAME COMMIT
#
# Takes root, for a folder /recordings that is there for this process only, and .venv.
set -eu
name=$1 commit=$2
here=$(dirname "$(readlink -f "$0")")
root=$(git -C "$here" rev-parse --show-toplevel)
if [ "${PRIVATE:-}" = "" ]; then
    mkdir -p /recordings
    PRIVATE=yes exec unshare --mount -- "$0" "$@"
fi
mount -t tmpfs tmpfs /recordings
work=$(mktemp -d)
git -C "$root" archive "$commit" | tar -x -C "$work"
cd "$work"
today() { PYTHONPATH=$root "$root/.venv/bin/python" -P "$@"; }
old() { PYTHONPATH=$work "$root/.venv/bin/python" -P -m bridge "$@"; }
today - <<'PYTHON'
import shutil
from pathlib import Path
from bridge.cli import write_drive
folder, ns = Path("/recordings"), 1_700_000_000_000_000_000
for name, start in (("sent", 1), ("again", 2), ("late", 3)):
    write_drive(folder, name=name, start_ns=ns + start * 10**12, duration_s=0.5)
whole = min(folder.glob("again/*.mcap"))
shutil.copy(whole, folder / "alone.mcap")
(folder / "cut.mcap").write_bytes(max(folder.glob("sent/*.mcap")).read_bytes()[:-5000])
(folder / "broken.mcap").write_bytes(b"this is no recording" * 50)
shutil.move("/recordings/late", "late")
PYTHON
export MOSAICO_BRIDGE_WATCH__SETTLE_S=0.2 MOSAICO_BRIDGE_WATCH__STALE_S=0.5
embedded=$(old once --help | grep -o -- --embedded | head -1 || true)
old once --folder /recordings --state state $embedded || true
mv late /recordings/late
PYTHONPATH=$work "$root/.venv/bin/python" -P -m bridge run --folder /recordings --state state \
    --host 127.0.0.1 --port 9 --http-port 0 &
daemon=$!
until today -c "
import sqlite3
rows = sqlite3.connect('state/journal.db').execute('SELECT state FROM entries WHERE name = \"late\"')
raise SystemExit(rows.fetchone() not in [('ready',), ('waiting',), ('sending',)])
"; do sleep 0.2; done
kill -KILL "$daemon"
today - "$here/$name.sql" "$commit" <<'PYTHON'
import sqlite3
import sys
from pathlib import Path
journal = sqlite3.connect("state/journal.db")
(version,) = journal.execute("PRAGMA user_version").fetchone()
lines = [f"-- Written by versions/write.sh with the bridge of {sys.argv[2]}."]
# Reports are long: those of a whole recording and of a part of one will do.
kept = "SELECT id FROM entries WHERE name IN ('alone', 'cut')"
journal.execute(f"DELETE FROM reports WHERE entry_id NOT IN ({kept})")
lines += [*journal.iterdump(), f"PRAGMA user_version = {version};"]
Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
print(sys.argv[1], version, journal.execute("SELECT name, state, reason FROM entries").fetchall())
PYTHON
rm -rf "$work"
