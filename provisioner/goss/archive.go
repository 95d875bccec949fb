// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// cargo is one file that travels to the machine. Its name is relative to the
// private folder.
type cargo struct {
	name string
	mode string
	data []byte
}

// archive packs files into one upload, and says how many of its bytes,
// uncompressed, are the layout script at its beginning. That script cuts the
// files out of the rest and puts them in place. This is what tar is for, but
// minimal images come without tar; head and tail are everywhere. No file name
// is ever seen by a shell unquoted.
func archive(files []cargo) (packed []byte, layout int, err error) {
	var content bytes.Buffer
	var cuts strings.Builder
	dirs := map[string]bool{"tests": true}
	for _, f := range files {
		if content.Len()+len(f.data) > maxInputBytes {
			return nil, 0, fmt.Errorf("the files of tests hold more than %d MB", maxInputBytes>>20)
		}
		// Offsets are relative to the end of the layout script, whose length is
		// not known before it is complete.
		fmt.Fprintf(&cuts, "take %d %d %s %s\n", content.Len(), len(f.data), quote(f.name), f.mode)
		content.Write(f.data)
		dirs[path.Dir(f.name)] = true
	}
	head := `set -e
umask 077
start=$1
take() {
	tail -c "+$((start + $1 + 1))" inputs | head -c "$2" >"$3"
	[ "$4" = 0600 ] || chmod "$4" "$3"
}
mkdir -p ` + quoteAll(slices.Sorted(maps.Keys(dirs))) + "\n" + cuts.String()

	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := io.WriteString(zw, head); err != nil {
		return nil, 0, err
	}
	if _, err := content.WriteTo(zw); err != nil {
		return nil, 0, err
	}
	if err := zw.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), len(head), nil
}
