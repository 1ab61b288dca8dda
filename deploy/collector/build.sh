#!/bin/sh
# Builds the collector of builder.yaml with Go, from Go modules, and prints the path of the binary.
#
#   deploy/collector/build.sh [FILE]
#
# FILE is a copy to make of it. The binary is kept under $STREAMWATCH_TOOLS (default: ~/.cache/streamwatch) by the
# manifest's checksum: the second call builds nothing. Go 1.25 or newer; the first call takes 1.5 GB of disk and some
# minutes. GOMAXPROCS bounds the cores it takes.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tools=${STREAMWATCH_TOOLS:-"${XDG_CACHE_HOME:-$HOME/.cache}/streamwatch"}
version=$(sed -n 's/^  version: //p' "$here/builder.yaml")
sum=$(sha256sum "$here/builder.yaml" | cut -c 1-12)
binary=$tools/collector-$version-$sum/streamwatch-collector

if [ ! -x "$binary" ]; then
    command -v go >/dev/null || { echo "build.sh: there is no Go to build the collector with" >&2; exit 1; }
    sources=$(mktemp -d)
    trap 'rm -rf "$sources"' EXIT
    GOBIN=$sources/bin go install "go.opentelemetry.io/collector/cmd/builder@v$version" >&2
    sed "s|^dist:|&\n  output_path: $sources/built|" "$here/builder.yaml" >"$sources/builder.yaml"
    # -e: what only the tests of the parts import need not be there, and not every proxy has it.
    GOFLAGS="${GOFLAGS-} -e" CGO_ENABLED=0 "$sources/bin/builder" --config "$sources/builder.yaml" >&2
    mkdir -p "$(dirname "$binary")"
    mv "$sources/built/streamwatch-collector" "$binary.new"
    mv "$binary.new" "$binary" # in one step: another build may be at it
fi

if [ $# -gt 0 ]; then
    mkdir -p "$(dirname "$1")"
    cp "$binary" "$1"
fi
echo "$binary"
