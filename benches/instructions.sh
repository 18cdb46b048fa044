#!/usr/bin/env bash
# Counts the instructions the node itself executes, the kernel's left out, with callgrind: they hardly depend on how busy
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

fail() { # what, and what was said about it
    echo "$1" >&2
    cat "$scratch"/{node,valgrind,report} >&2 2>/dev/null || true
    exit 1
}

count() { # options of loadtest; sets `counted` to the instructions of a whole run of the node
    rm -f "$scratch"/{node,valgrind,report}
    : >"$scratch/node"
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$scratch/valgrind" \
        "$directory/fanfare" >/dev/null 2>"$scratch/node" &
    node=$!
    local until=$((SECONDS + 60))
    until grep -q 'listening on' "$scratch/node"; do
        kill -0 "$node" 2>/dev/null || fail "the node ended at its start"
        [ $SECONDS -lt $until ] || fail "the node does not listen"
    done
    "$directory/loadtest" "$@" --url "$(sed -n 's/.*listening on //p' "$scratch/node")" --quiet >"$scratch/report" ||
        fail "loadtest $* failed"
    kill "$node"
    wait "$node" || fail "the node did not end in order"
    node=
    counted=$(sed -n 's/.*Collected : //p' "$scratch/valgrind")
    [ -n "$counted" ] || fail "callgrind told no count"
}

held() { # name, instructions of few and of many, times, limit
    local each=$((($3 - $2) / $4))
    echo "$each instructions per $1 (at most $5)"
    [ $each -gt 0 ] && [ $each -le "$5" ]
}

count fanout --streams 200 --events 100 --duration 10m
few=$counted
count fanout --streams 200 --events 300 --duration 10m
held delivery "$few" "$counted" $((200 * 200)) "$delivery_max"

count hold --streams 200 --duration 200ms
few=$counted
count hold --streams 1000 --duration 200ms
held opening "$few" "$counted" 800 "$opening_max"
