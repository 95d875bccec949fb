// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

var (
	here = Key{Run: "run", Instance: "ocid1.instance.a"}
	mark = "armfree-goss." + strings.Repeat("A", 26)
)

func TestNotesAreTakenOnce(t *testing.T) {
	box := Box{filepath.Join(t.TempDir(), "box")}
	now := time.Now()
	if notes, err := box.Take(here, now); err != nil || notes != nil {
		t.Errorf("an absent folder gave %v, %v", notes, err)
	}
	second := Note{Key: here, Mark: "armfree-goss." + strings.Repeat("C", 26), Time: now, Receipt: []byte("2")}
	for _, n := range []Note{
		second,
		{Key: here, Mark: mark, Time: now.Add(-time.Minute), Receipt: []byte("1")},
		{Key: Key{Run: "run", Instance: "another"}, Mark: mark, Time: now, Receipt: []byte("3")},
		{Key: Key{Run: "another", Instance: here.Instance}, Mark: mark, Time: now, Receipt: []byte("4")},
	} {
		if err := box.Leave(n); err != nil {
			t.Fatal(err)
		}
	}
	notes, err := box.Take(here, now)
	if err != nil || len(notes) != 2 || string(notes[0].Receipt) != "1" || string(notes[1].Receipt) != "2" {
		t.Errorf("got %v, %v", notes, err)
	}
	if notes, err := box.Take(here, now); err != nil || len(notes) != 0 {
		t.Errorf("taken twice: %v, %v", notes, err)
	}
	if left, _ := os.ReadDir(box.Dir); len(left) != 2 {
		t.Errorf("notes of others: %v", left)
	}
	// Nobody came for them.
	if _, err := box.Take(here, now.Add(8*24*time.Hour)); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(box.Dir); len(left) != 0 {
		t.Errorf("stale notes stay: %v", left)
	}
}

func TestNotesArePrivate(t *testing.T) {
	n := Note{Key: here, Mark: mark, Time: time.Now(), Receipt: []byte("x")}
	t.Run("modes", func(t *testing.T) {
		box := Box{filepath.Join(t.TempDir(), "box")}
		if err := box.Leave(n); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(box.Dir, "*"))
		dir, _ := os.Stat(box.Dir)
		file, _ := os.Stat(names[0])
		if dir.Mode().Perm() != 0o700 || file.Mode() != 0o600 {
			t.Errorf("modes %v and %v", dir.Mode(), file.Mode())
		}
		os.Chmod(names[0], 0o644)
		if notes, err := box.Take(here, time.Now()); err == nil || len(notes) != 0 {
			t.Errorf("a note that others may have read was taken: %v", notes)
		}
	})
	t.Run("a folder for all", func(t *testing.T) {
		box := Box{t.TempDir()}
		os.Chmod(box.Dir, 0o777)
		if box.Leave(n) == nil {
			t.Error("written")
		}
		if _, err := box.Take(here, time.Now()); err == nil {
			t.Error("read")
		}
	})
	t.Run("a link", func(t *testing.T) {
		box := Box{filepath.Join(t.TempDir(), "link")}
		os.Symlink(t.TempDir(), box.Dir)
		if box.Leave(n) == nil {
			t.Error("written")
		}
	})
	t.Run("a linked note", func(t *testing.T) {
		box := Box{filepath.Join(t.TempDir(), "box")}
		if err := box.Leave(n); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(box.Dir, "*"))
		other := filepath.Join(t.TempDir(), "x")
		os.Rename(names[0], other)
		os.Symlink(other, names[0])
		if notes, err := box.Take(here, time.Now()); err == nil || len(notes) != 0 {
			t.Errorf("taken: %v", notes)
		}
	})
	t.Run("broken", func(t *testing.T) {
		box := Box{filepath.Join(t.TempDir(), "box")}
		if err := box.Leave(n); err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(box.Dir, "*"))
		os.WriteFile(names[0], []byte("{"), 0o600)
		if _, err := box.Take(here, time.Now()); err == nil {
			t.Error("no error")
		}
	})
	for _, bad := range []Note{{Key: here}, {Key: Key{Run: "x"}, Mark: mark}, {Key: here, Mark: "../../x"}} {
		if (Box{t.TempDir()}).Leave(bad) == nil {
			t.Errorf("%+v was written", bad)
		}
	}
}

func TestMark(t *testing.T) {
	for text, want := range map[string]string{
		"sh -c 'cd /dev/shm/" + mark + "/x'": mark, mark: mark, "armfree-goss.abc": "", "": "",
	} {
		if got := Mark(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

// What the tag says is understood again.
func TestTagRoundTrip(t *testing.T) {
	digest := strings.Repeat("a", 64)
	for _, tt := range []struct {
		proof goss.Proof
		value string
		claim Claim
	}{
		{goss.Proof{State: goss.ProofPassed, Tests: 7, Digest: digest, Bootable: true}, "true tests=7 sha256=" + digest + " oci-bootable=true", Claim{Passed: true, Bootable: true}},
		{goss.Proof{State: goss.ProofPassed, Tests: 7, Digest: digest}, "true tests=7 sha256=" + digest, Claim{Passed: true}},
		{goss.Proof{State: goss.ProofStale, Tests: 7, Digest: digest, Bootable: true}, "stale tests=7 sha256=" + digest + " oci-bootable=true", Claim{Passed: true, Stale: true, Bootable: true}},
		{goss.Proof{State: goss.ProofReported, Tests: 7, Digest: digest}, "reported tests=7 sha256=" + digest, Claim{}},
		{goss.Proof{State: goss.ProofFailed, Digest: digest}, "false tests=0 sha256=" + digest, Claim{}},
	} {
		if v := Value(tt.proof); v != tt.value || Read(v) != tt.claim || Read(v+" later=word") != tt.claim {
			t.Errorf("%+v: %q is %+v", tt.proof, v, Read(v))
		}
	}
	for _, v := range []string{"", " ", "yes", "oci-bootable=true"} {
		if c := Read(v); c.Passed || c.Bootable {
			t.Errorf("%q: %+v", v, c)
		}
	}
}
