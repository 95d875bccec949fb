#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# packer.sh BIN provides BIN/packer: a link to the Packer on PATH if that is new
# enough for the examples, else a build of the module that tools/packer pins.
set -eu
bin=$1
want=1.12.0
mkdir -p "$bin"
have=$(command -v packer 2>/dev/null || true)
if [ -n "$have" ] && [ "$have" != "$bin/packer" ]; then
	version=$(CHECKPOINT_DISABLE=1 "$have" version 2>/dev/null | sed -n 's/^Packer v\([0-9.]*\).*/\1/p')
	if [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$want" "$version" | sort -V | head -n 1)" = "$want" ]; then
		ln -sf "$have" "$bin/packer"
		echo "packer: using $have (v$version)"
		exit 0
	fi
fi
cd "$(dirname "$0")/../../../tools/packer"
stamp=$(cat go.mod go.sum | sha256sum | cut -d' ' -f1)
if [ -x "$bin/packer" ] && [ "$(cat "$bin/packer.stamp" 2>/dev/null)" = "$stamp" ]; then
	exit 0
fi
echo "packer: building $(go list -m -f '{{.Path}} {{.Version}}' github.com/hashicorp/packer) (a few minutes, once)"
rm -f "$bin/packer"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$bin/packer" github.com/hashicorp/packer
echo "$stamp" > "$bin/packer.stamp"
