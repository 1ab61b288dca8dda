#!/bin/sh
# Builds a program out of a Go module for the tests, once, and prints its path:
#
#   GOFLAGS=-tags=remove_all_sd tests/apps/build_module.sh github.com/prometheus/prometheus v0.313.5 ./cmd/prometheus
#   tests/apps/build_module.sh github.com/jaegertracing/jaeger v1.76.0 ./cmd/jaeger
#   tests/apps/build_module.sh github.com/cloudflare/pint v0.60.0 ./cmd/pint
#
# It is kept under $STREAMWATCH_TOOLS (default: ~/.cache/streamwatch). `go install` does not build the first two: their
# go.mod says what to replace, which counts in a main module only. The tag leaves out what finds targets in clouds.
set -eu

module=$1 version=$2 package=$3
tools=${STREAMWATCH_TOOLS:-"${XDG_CACHE_HOME:-$HOME/.cache}/streamwatch"}
program=$(basename "$package")
binary=$tools/$program-$version/$program

if [ ! -x "$binary" ]; then
    sources=$(mktemp -d)
    trap 'chmod -R u+w "$sources"; rm -rf "$sources"' EXIT
    cd "$sources"
    unpacked=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    cp -R "$unpacked" unpacked
    chmod -R u+w unpacked
    cd unpacked
    GOWORK=off CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '-s -w' -o "$sources/$program" "$package" >&2
    mkdir -p "$(dirname "$binary")"
    mv "$sources/$program" "$binary.new"
    mv "$binary.new" "$binary" # in one step: another build may be at it
fi
echo "$binary"
