#!/usr/bin/env bash
# Installs the programs that the tests need, on Debian; elsewhere prints which are missing.
set -euo pipefail

declare -A package_of=([curl]=curl [chromium]=chromium [chromedriver]=chromium-driver
    [cc]=build-essential [valgrind]=valgrind)

missing=()
for program in "${!package_of[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "the tests need these programs: ${!package_of[*]}; please install: ${missing[*]}" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
