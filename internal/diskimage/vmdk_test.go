// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	simdisks "github.com/armfree/packer-plugin-armfree/internal/sim/disks"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// walk reads a streamOptimized VMDK as one would read it from a tape, and fails the test
// at everything that VMware's specification does not have at that place. It gives the
// grains by their number on the disk.
type walk struct {
	testing.TB
	file   []byte
	at     int               // sectors
	grains map[uint32]uint32 // of the tables to come: from the number on the disk to the sector
	tables map[uint32]uint32 // from the number of the table to its sector
	all    map[uint32][]byte
}

func (w *walk) must(ok bool, format string, args ...any) {
	w.Helper()
	if !ok {
		w.Fatalf("sector %d: "+format, append([]any{w.at}, args...)...)
	}
}

// take takes so many sectors.
func (w *walk) take(sectors int) []byte {
	w.Helper()
	w.must((w.at+sectors)*512 <= len(w.file), "%d sectors are wanted of a file of %d bytes", sectors, len(w.file))
	p := w.file[w.at*512 : (w.at+sectors)*512]
	w.at += sectors
	return p
}

func (w *walk) zeros(p []byte, what string) {
	w.Helper()
	w.must(len(bytes.Trim(p, "\x00")) == 0, "%s is not zeros", what)
}

var descriptorForm = regexp.MustCompile(`^# Disk DescriptorFile\nversion=1\nCID=([0-9a-f]{8})\nparentCID=ffffffff\ncreateType="streamOptimized"\n\n` +
	`# Extent description\nRW (\d+) SPARSE "disk\.vmdk"\n\n# The Disk Data Base\n#DDB\n\nddb\.virtualHWVersion = "4"\n` +
	`ddb\.geometry\.cylinders = "(\d+)"\nddb\.geometry\.heads = "255"\nddb\.geometry\.sectors = "63"\nddb\.adapterType = "lsilogic"\n$`)

// front is the header and the descriptor, up to the first grain.
func (w *walk) front(size int64) (header []byte) {
	le := binary.LittleEndian
	header = w.take(1)
	w.must(string(header[:4]) == "KDMV" && le.Uint32(header[4:]) == 3, "it begins with %q", header[:8])
	w.must(le.Uint32(header[8:]) == 0x30001, "the flags are %#x: newlines, compressed, with marks", le.Uint32(header[8:]))
	w.must(le.Uint64(header[12:]) == uint64(size+511)/512, "the disk has %d sectors", le.Uint64(header[12:]))
	w.must(le.Uint64(header[20:]) == 128 && le.Uint32(header[44:]) == 512, "grains and tables")
	w.must(le.Uint64(header[48:]) == 0 && le.Uint64(header[56:]) == 1<<64-1, "the directory is not at the end")
	w.must(header[72] == 0 && string(header[73:77]) == "\n \r\n" && le.Uint16(header[77:]) == 1, "unclean, newlines, compression: % x", header[72:79])
	w.zeros(header[79:], "the rest of the header")
	at, n, over := le.Uint64(header[28:]), le.Uint64(header[36:]), le.Uint64(header[64:])
	w.must(at == 1 && n == 20 && over%128 == 0 && at+n <= over, "the descriptor has %d sectors at %d, and grains begin at %d", n, at, over)
	text := w.take(int(n))
	end := bytes.IndexByte(text, 0)
	w.must(end > 0, "the descriptor does not end")
	w.zeros(text[end:], "what is behind the descriptor")
	m := descriptorForm.FindSubmatch(text[:end])
	w.must(m != nil, "the descriptor is %q", text[:end])
	w.must(string(m[2]) == fmt.Sprint((size+511)/512), "the extent has %s sectors", m[2])
	w.must(!slices.Contains([]string{"ffffffff", "fffffffe"}, string(m[1])), "the id %s means something else", m[1])
	w.zeros(w.take(int(over-at-n)), "what is before the first grain")
	return header
}

// grain takes one grain, whose first sector is in hand.
func (w *walk) grain(first []byte, size int64) {
	le := binary.LittleEndian
	begin := uint32(w.at - 1)
	lba, n := le.Uint64(first), int(le.Uint32(first[8:]))
	number := uint32(lba / 128)
	w.must(lba%128 == 0 && int64(lba)*512 < size, "a grain at sector %d of the disk", lba)
	for other := range w.grains {
		w.must(other < number && other/512 == number/512, "the grain %d comes behind %d, with no table between them", number, other)
	}
	whole := append(slices.Clone(first), w.take((12+n+511)/512-1)...)
	w.zeros(whole[12+n:], "the rest of a grain's last sector")
	z, err := zlib.NewReader(bytes.NewReader(whole[12 : 12+n]))
	w.must(err == nil, "%v", err)
	data, err := io.ReadAll(z)
	w.must(err == nil && len(data) == 64<<10, "a grain of %d bytes, %v", len(data), err)
	w.must(len(bytes.Trim(data, "\x00")) > 0, "a grain of zeros is not left out")
	w.all[number] = data
	w.grains[number] = begin
}

// table takes a table of grains, which must be of all that came since the last one.
func (w *walk) table() {
	at := uint32(w.at)
	raw := w.take(4)
	w.must(len(w.grains) > 0, "an empty table")
	number := uint32(0)
	for n := range w.grains {
		number = n / 512
	}
	for i := range uint32(512) {
		got := binary.LittleEndian.Uint32(raw[4*i:])
		w.must(got == w.grains[number*512+i], "the grain %d is at %d, and the table says %d", number*512+i, w.grains[number*512+i], got)
	}
	for other := range w.tables {
		w.must(other < number, "the table %d comes behind %d", number, other)
	}
	w.tables[number] = at
	clear(w.grains)
}

// directory takes the directory, and what must follow it up to the end of the file.
func (w *walk) directory(sectors int, size int64, header []byte) {
	le := binary.LittleEndian
	at := w.at
	w.must(len(w.grains) == 0, "%d grains are in no table", len(w.grains))
	count := int((size + 32<<20 - 1) / (32 << 20))
	w.must(sectors == (4*count+511)/512, "the directory of %d tables has %d sectors", count, sectors)
	raw := w.take(sectors)
	for n := range count {
		w.must(le.Uint32(raw[4*n:]) == w.tables[uint32(n)], "the table %d is at %d, and the directory says %d", n, w.tables[uint32(n)], le.Uint32(raw[4*n:]))
	}
	w.zeros(raw[4*count:], "the rest of the directory")
	mark := w.take(1)
	w.must(le.Uint64(mark) == 1 && le.Uint32(mark[8:]) == 0 && le.Uint32(mark[12:]) == 3, "no mark of a footer: % x", mark[:16])
	w.zeros(mark[16:], "the rest of a mark")
	footer := slices.Clone(w.take(1))
	w.must(le.Uint64(footer[56:]) == uint64(at), "the footer says that the directory is at %d, and it is at %d", le.Uint64(footer[56:]), at)
	copy(footer[56:64], header[56:64])
	w.must(bytes.Equal(footer, header), "the footer is not the header")
	w.zeros(w.take(1), "the end of the stream")
	w.must(w.at*512 == len(w.file), "the file has %d bytes", len(w.file))
}

// walked are the grains of a file that is as the specification has it.
func walked(t testing.TB, file []byte, size int64) map[uint32][]byte {
	t.Helper()
	w := &walk{TB: t, file: file, grains: map[uint32]uint32{}, tables: map[uint32]uint32{}, all: map[uint32][]byte{}}
	header := w.front(size)
	le := binary.LittleEndian
	for {
		s := w.take(1)
		if le.Uint32(s[8:]) != 0 {
			w.grain(s, size)
			continue
		}
		w.zeros(s[16:], "the rest of a mark")
		switch kind, n := le.Uint32(s[12:]), le.Uint64(s); {
		case kind == 1 && n == 4:
			w.table()
		case kind == 2:
			w.directory(int(n), size, header)
			return w.all
		default:
			w.must(false, "a mark %d of %d sectors", kind, n)
		}
	}
}

// Every byte of a VMDK is as VMware's specification has it, and all that is on the disk
// is in it.
func TestVMDKByTheBook(t *testing.T) {
	sample.Not(t)
	all := disks()
	for seed := range uint64(4) {
		all[fmt.Sprint("by chance ", seed)] = randomDisk(rand.New(rand.NewPCG(seed, 2)))
	}
	for name, d := range all {
		t.Run(name, func(t *testing.T) {
			file, s := written(t, d, Options{Format: VMDK})
			grains := walked(t, file, d.size)
			if s.Packed != int64(len(grains)) || s.Plain != 0 {
				t.Errorf("%d grains, %+v", len(grains), s)
			}
			for c := range d.clusters {
				want := d.content(c)
				got := grains[uint32(c)]
				if got == nil {
					got = make([]byte, ClusterSize)
				}
				if !bytes.Equal(got[:len(want)], want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
					t.Fatalf("the grain %d differs", c)
				}
			}
		})
	}
}

// And it is read by the simulators' own reader, which shares no code with the product.
func TestVMDKBySimulators(t *testing.T) {
	for name, d := range disks() {
		t.Run(name, func(t *testing.T) {
			file, _ := written(t, d, Options{Format: VMDK})
			path := filepath.Join(t.TempDir(), "disk.vmdk")
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := simdisks.OpenVMDK(path)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if v.Size() != (d.size+511)&^511 {
				t.Errorf("%d bytes", v.Size())
			}
			seen := map[int]bool{}
			for g, err := range v.Grains() {
				if err != nil {
					t.Fatal(err)
				}
				c := int(g.Offset / ClusterSize)
				if want := d.content(c); !bytes.Equal(g.Data[:len(want)], want) {
					t.Fatalf("the grain %d differs", c)
				}
				seen[c] = true
			}
			for c, p := range d.clusters {
				if seen[c] != (p != absent && p != zeros) {
					t.Errorf("the grain %d: %v", c, seen[c])
				}
			}
		})
	}
}

// The parts of a VMDK, put together, are the file.
func TestVMDKInParts(t *testing.T) {
	for seed := range uint64(4) {
		d := randomDisk(rand.New(rand.NewPCG(seed, 3)))
		want, _ := written(t, d, Options{Format: VMDK})
		var m memory
		parts, err := NewParts(&m, 1<<20+int(seed)*4096, 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), parts, d, Options{Format: VMDK}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.object(), want) {
			t.Error("the parts are another file")
		}
	}
}

// A VMDK is not much larger than that of qemu-img, which takes three times as long.
func TestVMDKIsAsSmallAsThatOfQEMU(t *testing.T) {
	needQemuImg(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, _ := written(t, rawFile{f, i.Size()}, Options{Format: VMDK})
	theirs := filepath.Join(t.TempDir(), "disk.vmdk")
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", self, theirs)
	if i, err = os.Stat(theirs); err != nil {
		t.Fatal(err)
	}
	if ours := int64(len(file)); ours > i.Size()+i.Size()/10 {
		t.Errorf("%d bytes, and that of QEMU has %d", ours, i.Size())
	}
}

// What a VMDK cannot be is refused in words.
func TestVMDKRefused(t *testing.T) {
	small := newDisk("t", 0)
	for want, tt := range map[string]struct {
		disk Source
		o    Options
	}{
		`a VMDK is compressed by "deflate" and by nothing else, not by "zstd"`: {small, Options{Format: VMDK, Compression: Zstd}},
		`a VMDK is compressed by "deflate" and by nothing else, not by "none"`: {small, Options{Format: VMDK, Compression: None}},
		`the format "vhd" is not one of "qcow2" and "vmdk"`:                    {small, Options{Format: "vhd"}},
		"the disk has 2048 GiB; what fits into a VMDK is smaller than 2048":    {far{2 << 40, 1 << 40}, Options{Format: VMDK}},
	} {
		var m memory
		if _, err := Write(t.Context(), &m, tt.disk, tt.o); err == nil || err.Error() != want || m.Len() > 0 {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// The largest that is allowed, and what its data makes of it.
	if _, err := Write(t.Context(), &discard{}, far{2<<40 - 512, 256 << 30}, Options{Format: VMDK, Readers: 2}); err != nil {
		t.Error(err)
	}
	v := newVMDK(&counted{Output: &discard{}, at: 1<<41 - 512}, 2<<40-512)
	if err := v.add(t.Context(), cluster{index: 1, data: []byte("x")}); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{"a grain": v.add(t.Context(), cluster{index: 2, data: []byte("x")}), "a table": v.endTable(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "does not fit into one") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
