#!/usr/bin/env bash
# Runs a scenario with very many streams against a node started here, on loopback:
#   loadtest/scale.sh STREAMS SHARDS SCENARIO [more options of loadtest]
# Uses a network namespace (root, unshare, ip) with a wide port range and a connection hash table
# sized for the streams; CONNECTION_TABLE=0 leaves its size to the kernel.
# Build first: cargo build --release --workspace
set -euo pipefail
cd "$(dirname "$0")/.."

streams=$1 shards=$2 scenario=$3

# Each stream has two ends. For short chains, twice as many buckets, as a power of two.
entries=1
while [ $entries -lt $((streams * 4)) ]; do entries=$((entries * 2)); done
entries=${CONNECTION_TABLE:-$entries}

# The table size of new namespaces (Linux 6.1); on older kernels they share the machine's table.
setting=net.ipv4.tcp_child_ehash_entries
if [ "${SCALE_BEFORE:-}" = "" ]; then
    SCALE_BEFORE=$(sysctl -n $setting 2>/dev/null || echo none)
    export SCALE_BEFORE
    # Used to restore the machine's setting once the namespace has been created.
    exec 9</proc/self/ns/net
    [ "$SCALE_BEFORE" = none ] || sysctl -qw "$setting=$entries"
    exec unshare --net -- loadtest/scale.sh "$@"
fi
[ "$SCALE_BEFORE" = none ] || nsenter --net=/proc/self/fd/9 sysctl -qw "$setting=$SCALE_BEFORE"
exec 9<&-

ip link set lo up
port=8088
sysctl -qw net.ipv4.ip_local_port_range="16000 64000"
table=$(sysctl -n net.ipv4.tcp_ehash_entries 2>/dev/null | tr -d - || true)
echo "connection hash table: $table entries"

target=${CARGO_TARGET_DIR:-target}
FANFARE_ADDR=127.0.0.1:$port FANFARE_SHARDS=$shards "$target/release/fanfare" &
node=$!
# Also ends the tool if the script is ended first.
trap 'pkill -TERM -P $$ || true; wait "$node" 2>/dev/null || true' EXIT
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$node"; done
"$target/release/loadtest" "$scenario" --url "http://127.0.0.1:$port" --streams "$streams" \
    --pid "$node" "${@:4}"
