#!/usr/bin/env bash
# Runs a scenario with very many streams against a node of its own, on loopback:
#   loadtest/scale.sh STREAMS SHARDS SCENARIO [more options of loadtest]
# Widens the port range for the time of the run (root), and puts it back. Build first: cargo build --release --workspace
set -euo pipefail
cd "$(dirname "$0")/.."

streams=$1 shards=$2 scenario=$3
shift 3
port=8088

restore=()
set_for_now() { # name value
    local before
    before=$(sysctl -n "$1")
    if sysctl -qw "$1=$2"; then restore+=("$1=$before"); fi
}
node=
finish() {
    [ -z "$node" ] || { kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true; }
    for setting in "${restore[@]}"; do sysctl -qw "$setting" || true; done
}
trap finish EXIT

set_for_now net.ipv4.ip_local_reserved_ports "$port"
set_for_now net.ipv4.ip_local_port_range "16000 64000"

FANFARE_ADDR=127.0.0.1:$port FANFARE_SHARDS=$shards target/release/fanfare &
node=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "$node"; done
target/release/loadtest "$scenario" --url "http://127.0.0.1:$port" --streams "$streams" --pid "$node" "$@"
