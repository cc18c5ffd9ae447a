#!/bin/bash
# Makes dist/out/kaname_*.deb and *.rpm from bin/kaname. nfpm is pinned in
# tools/nfpm/go.mod and built once into the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kaname-tools
version=$(awk '$1 == "github.com/goreleaser/nfpm/v2" {print $2}' tools/nfpm/go.mod)
nfpm=$cache/nfpm-$version
if [ ! -x "$nfpm" ]; then
	mkdir -p "$cache"
	go build -modfile=tools/nfpm/go.mod -o "$nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm
fi

# 1.2.0 from a tag v1.2.0; 0.0.0~git.<commit> between tags, which sorts before.
VERSION=${VERSION:-$(git describe --tags --exact-match 2>/dev/null | sed 's/^v//' || true)}
VERSION=${VERSION:-0.0.0~git.$(git rev-parse --short HEAD)}
GOARCH=$(go env GOARCH)
export VERSION GOARCH

rm -rf dist/out
mkdir -p dist/out/man
for page in dist/man/*.1; do
	gzip -9 -n -c "$page" >"dist/out/man/$(basename "$page").gz"
done
for format in deb rpm; do
	"$nfpm" package --config dist/nfpm.yaml --packager "$format" --target dist/out/
done
