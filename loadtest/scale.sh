#!/usr/bin/env bash
# Runs a scenario with very many streams against a node of its own, on loopback:
#   loadtest/scale.sh STREAMS SHARDS SCENARIO [more options of loadtest]
# In a network namespace of its own (root, unshare, ip), which has a wide port range and a table of connections as large as
# so many need. CONNECTION_TABLE=0 takes the kernel's own. Build first: cargo build --release --workspace
set -euo pipefail
cd "$(dirname "$0")/.."

streams=$1 shards=$2 scenario=$3

# Two ends each, and short chains: a power of two of at least twice as many.
entries=1
while [ $entries -lt $((streams * 4)) ]; do entries=$((entries * 2)); done
entries=${CONNECTION_TABLE:-$entries}

# What a new namespace's table will have (Linux 6.1); an older kernel gives it the machine's own table.
setting=net.ipv4.tcp_child_ehash_entries
if [ "${SCALE_BEFORE:-}" = "" ]; then
    SCALE_BEFORE=$(sysctl -n $setting 2>/dev/null || echo none)
    export SCALE_BEFORE
    # Through it the machine gets its setting back as soon as the namespace is there.
    exec 9</proc/self/ns/net
    [ "$SCALE_BEFORE" = none ] || sysctl -qw "$setting=$entries"
    exec unshare --net -- loadtest/scale.sh "$@"
fi
[ "$SCALE_BEFORE" = none ] || nsenter --net=/proc/self/fd/9 sysctl -qw "$setting=$SCALE_BEFORE"
exec 9<&-

ip link set lo up
port=8088
sysctl -qw net.ipv4.ip_local_port_range="16000 64000"
echo "connections in a table of $(sysctl -n net.ipv4.tcp_ehash_entries 2>/dev/null | tr -d - || true) entries"

target=${CARGO_TARGET_DIR:-target}
FANFARE_ADDR=127.0.0.1:$port FANFARE_SHARDS=$shards "$target/release/fanfare" &
node=$!
# The tool too, should the script be ended before it.
trap 'pkill -TERM -P $$ || true; wait "$node" 2>/dev/null || true' EXIT
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$node"; done
"$target/release/loadtest" "$scenario" --url "http://127.0.0.1:$port" --streams "$streams" --pid "$node" "${@:4}"
