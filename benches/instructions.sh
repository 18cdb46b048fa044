#!/usr/bin/env bash
# Counts the instructions that the node executes in user space, with callgrind. The count hardly
# depends on the machine's load, so a limit can be checked in tests.
#   benches/instructions.sh DIRECTORY DELIVERY_MAX OPENING_MAX
# DIRECTORY contains the programs fanfare and loadtest. Fails if a delivery or the opening of a
# stream takes more instructions than its limit.
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

# Valgrind supports neither io_uring nor a descriptor table per thread.
export FANFARE_ADDR=127.0.0.1:0 FANFARE_IO=send FANFARE_DESCRIPTOR_TABLES=shared FANFARE_SHARDS=1

fail() { # message; also prints the output of the programs
    echo "$1" >&2
    cat "$scratch"/{node,valgrind,report} >&2 2>/dev/null || true
    exit 1
}

count() { # options of loadtest; sets `counted` to the instructions of the whole run
    rm -f "$scratch"/{node,valgrind,report}
    : >"$scratch/node"
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --log-file="$scratch/valgrind" \
        "$directory/fanfare" >/dev/null 2>"$scratch/node" &
    node=$!
    local until=$((SECONDS + 60))
    until grep -q 'listening on' "$scratch/node"; do
        kill -0 "$node" 2>/dev/null || fail "the node ended during its start"
        [ $SECONDS -lt $until ] || fail "the node does not listen"
    done
    local url
    url=$(sed -n 's/.*listening on //p' "$scratch/node")
    "$directory/loadtest" "$@" --url "$url" --quiet >"$scratch/report" || fail "loadtest $* failed"
    kill "$node"
    wait "$node" || fail "the node did not exit cleanly"
    node=
    counted=$(sed -n 's/.*Collected : //p' "$scratch/valgrind")
    [ -n "$counted" ] || fail "callgrind printed no count"
}

held() { # name, instructions of a short and a long run, operations between them, limit
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
