#!/usr/bin/env bash
# Counts the instructions the node itself executes, the kernel's left out, with callgrind: they don't depend on how busy
# the machine is, so that a limit can be held against them.
#   benches/instructions.sh DIRECTORY DELIVERY_MAX OPENING_MAX
# DIRECTORY is where cargo has put fanfare and loadtest. Fails if a delivery or an opening takes more than its limit.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=$1 delivery_max=$2 opening_max=$3
scratch=$(mktemp -d)
node=
finish() {
    [ -z "$node" ] || kill -KILL "$node" 2>/dev/null || true
    rm -r "$scratch"
}
trap finish EXIT

# Valgrind knows neither io_uring nor a thread with a descriptor table of its own.
export FANFARE_ADDR=127.0.0.1:0 FANFARE_IO=send FANFARE_DESCRIPTOR_TABLES=shared FANFARE_SHARDS=1

count() { # options of loadtest: instructions of a whole run of the node
    local log=$scratch/log
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$scratch/valgrind" \
        "$directory/fanfare" 2>"$log" &
    node=$!
    until grep -q 'listening on' "$log"; do
        kill -0 "$node" || { cat "$log" "$scratch/valgrind" >&2; exit 1; }
    done
    "$directory/loadtest" "$@" --url "$(sed -n 's/.*listening on //p' "$log")" --quiet >"$scratch/report" ||
        { cat "$scratch/report" >&2; exit 1; }
    kill "$node"
    wait "$node"
    node=
    sed -n 's/.*Collected : //p' "$scratch/valgrind"
}

held() { # name, instructions, times, limit
    local each=$(($2 / $3))
    echo "$each instructions per $1 (at most $4)"
    [ "$each" -le "$4" ]
}

few=$(count fanout --streams 200 --events 100 --duration 10m)
many=$(count fanout --streams 200 --events 300 --duration 10m)
held delivery $((many - few)) $((200 * 200)) "$delivery_max"

few=$(count hold --streams 200 --duration 200ms)
many=$(count hold --streams 1000 --duration 200ms)
held opening $((many - few)) 800 "$opening_max"
