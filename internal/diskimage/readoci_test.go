// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// tarMember is a member of a tar archive, byte by byte: archive/tar writes no sparse ones.
func tarMember(kind byte, name string, data []byte, more func(header []byte)) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00", len(data), 0))
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	if more != nil {
		more(h)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(append(h, data...), make([]byte, -len(data)&511)...)
}

// paxMember is the member that says more of the next one.
func paxMember(records ...string) []byte {
	var all []byte
	for i := 0; i < len(records); i += 2 {
		line := " " + records[i] + "=" + records[i+1] + "\n"
		n := len(line) + 1
		for n != len(line)+len(strconv.Itoa(n)) {
			n++
		}
		all = fmt.Appendf(all, "%d%s", n, line)
	}
	return tarMember('x', "PaxHeaders/output.QCOW2", all, nil)
}

// A disk that is in an archive without its holes is refused: its bytes do not lie there as they
// are in the file. All ways in which GNU's tar has ever stored one are.
func TestReadSparseOCI(t *testing.T) {
	const from, to = 4 << 10, ClusterSize // the hole: behind the header is nothing
	file, _ := written(t, newDisk("tnb", 0), Options{})
	if !bytes.Equal(file[from:to], make([]byte, to-from)) {
		t.Fatal("there is no hole")
	}
	size := strconv.Itoa(len(file))
	packed := append(bytes.Clone(file[:from]), file[to:]...)
	list := []string{"0", strconv.Itoa(from), strconv.Itoa(to), strconv.Itoa(len(file) - to)}
	commas := strings.Join(list, ",")
	lines := make([]byte, 512)
	copy(lines, "2\n"+strings.Join(list, "\n")+"\n")
	for name, members := range map[string][][]byte{
		"0.0": {
			paxMember("GNU.sparse.size", size, "GNU.sparse.numblocks", "2",
				"GNU.sparse.offset", list[0], "GNU.sparse.numbytes", list[1], "GNU.sparse.offset", list[2], "GNU.sparse.numbytes", list[3]),
			tarMember('0', "output.QCOW2", packed, nil),
		},
		"0.1": {
			paxMember("GNU.sparse.size", size, "GNU.sparse.numblocks", "2", "GNU.sparse.map", commas, "GNU.sparse.name", "output.QCOW2"),
			tarMember('0', "GNUSparseFile.1/output.QCOW2", packed, nil),
		},
		"1.0": {
			paxMember("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "output.QCOW2", "GNU.sparse.realsize", size),
			tarMember('0', "GNUSparseFile.1/output.QCOW2", append(lines, packed...), nil),
		},
		"of the future": {
			paxMember("GNU.sparse.major", "9", "GNU.sparse.minor", "0", "GNU.sparse.realsize", size),
			tarMember('0', "output.QCOW2", packed, nil),
		},
		"before PAX": {
			tarMember('S', "output.QCOW2", packed, func(h []byte) {
				copy(h[257:], "ustar  \x00")
				copy(h[386:], fmt.Sprintf("%011o\x00%011o\x00%011o\x00%011o\x00", 0, from, to, len(file)-to))
				copy(h[483:], fmt.Sprintf("%011o\x00", len(file)))
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			// What follows is as long as the hole, so that nothing seems to be cut off.
			archive := append(bytes.Join(members, nil), make([]byte, 256<<10)...)
			_, err := Open(bytes.NewReader(archive), int64(len(archive)))
			if err == nil || !strings.Contains(err.Error(), "output.QCOW2 in the .oci archive is stored as a sparse file") {
				t.Error(err)
			}
		})
	}
	// The same without a hole is read, with whatever else PAX has to say.
	archive := append(append(paxMember("comment", "GNU.sparse.major=1"), tarMember('0', "output.QCOW2", file, nil)...), make([]byte, 1024)...)
	src, err := Open(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, newDisk("tnb", 0), src)
}
