#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# packer.sh VERSION OUT builds that version of Packer from its module into OUT/packer-VERSION, once. It is built inside
# its own module, so that its own replacements of modules hold.
set -eu
version=$1 out=$2
mkdir -p "$out"
out=$(cd "$out" && pwd)
[ ! -x "$out/packer-$version" ] || exit 0
cd "${TMPDIR:-/tmp}" # no go.mod of ours
dir=$(go mod download -json "github.com/hashicorp/packer@v$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
[ -n "$dir" ] || { echo "compat: there is no Packer $version" >&2; exit 1; }
echo "compat: building Packer $version (a few minutes, once)"
go build -C "$dir" -buildvcs=false -trimpath -ldflags "-s -w" -o "$out/packer-$version.new" .
mv "$out/packer-$version.new" "$out/packer-$version"
