#!/bin/bash
# Fails when a generated file is not what its generator writes now.
set -euo pipefail
cd "$(dirname "$0")/.."
before=$(git status --porcelain; git diff | sha256sum)
go generate ./...
after=$(git status --porcelain; git diff | sha256sum)
if [ "$before" != "$after" ]; then
	echo "generated files are stale: run make generate and commit" >&2
	git status --short >&2
	exit 1
fi
