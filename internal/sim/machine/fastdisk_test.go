// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLife: what is done to a machine is on its disk, and on a copy of it.
func TestLife(t *testing.T) {
	signer, line := key(t)
	disk := base(t, nil)
	// IyEvYmluL3NoCmVjaG8gdWQgPj4vZXRjL3VkCg== is a script that adds a line to /etc/ud.
	const userData = "IyEvYmluL3NoCmVjaG8gdWQgPj4vZXRjL3VkCg=="
	spec := Spec{ID: "i", Disk: disk, Metadata: metadata("i1", line, userData), SSH: freeAddr(t)}
	m := power(t, &Fast{}, spec)
	c := login(t, spec.SSH, "debian", signer)
	run(t, c, "echo data >f; chmod 750 f; sudo ln -s /etc/hostname /etc/l; sudo mkdir -m 2755 /srv/d; echo v >/dev/shm/v; dd if=/dev/urandom of=big bs=1M count=3; sha256sum big >sum", "")
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Done():
	default:
		t.Error("not done after Shutdown")
	}
	if _, err := net.Dial("tcp", spec.SSH); err == nil {
		t.Error("still listening after Shutdown")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(disk), ".*")); len(left) > 0 {
		t.Errorf("left beside the disk: %v", left)
	}

	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.qcow2")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	signer2, line2 := key(t)
	spec2 := Spec{ID: "j", Disk: copied, Metadata: metadata("i2", line2, userData), SSH: freeAddr(t)}
	m2 := power(t, &Fast{}, spec2)
	c2 := login(t, spec2.SSH, "debian", signer2)
	_, out, _ := run(t, c2, "cat f; stat -c '%a %U' f; readlink /etc/l; stat -c %a /srv/d; sha256sum -c sum; ls /dev/shm; cat /etc/ud", "")
	if want := "data\n750 debian\n/etc/hostname\n2755\nbig: OK\nud\nud\n"; out != want {
		t.Errorf("after the copy booted: %q, want %q", out, want)
	}
	// A guest can power itself off.
	if s, err := c2.NewSession(); err == nil {
		s.Run("sudo poweroff")
	}
	<-m2.Done()

	// Once more with the same id: user data does not run again.
	m3 := power(t, &Fast{}, spec2)
	_, out, _ = run(t, login(t, spec2.SSH, "debian", signer2), "cat /etc/ud", "")
	if out != "ud\nud\n" {
		t.Errorf("user data ran %q times", out)
	}
	if err := m3.Kill(); err != nil {
		t.Error(err)
	}
	if err := m3.Kill(); err != nil {
		t.Error("second Kill: ", err)
	}
}

func TestELF(t *testing.T) {
	signer, line := key(t)
	d := &Fast{ELF: func(_ context.Context, p *Process) int {
		data, err := p.ReadFile("in")
		if err != nil {
			return 3
		}
		p.Stdout.Write(append(data, []byte(strings.Join(p.Args, ",")+p.Getenv("V"))...))
		if p.WriteFile("/tmp/out", []byte("o"), 0o644) != nil {
			return 4
		}
		return 5
	}}
	spec := Spec{ID: "i", Disk: base(t, map[string]string{"/usr/local/bin/p": "\x7fELF"}), Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	power(t, d, spec)
	c := login(t, spec.SSH, "debian", signer)
	status, out, _ := run(t, c, "echo in >in; V=v p a b; s=$?; cat /tmp/out; exit $s", "")
	if status != 5 || out != "in\np,a,bvo" {
		t.Errorf("got %d %q", status, out)
	}
}

func TestDisk(t *testing.T) {
	disk := base(t, map[string]string{"/srv/f": strings.Repeat("x", 200_000)})
	t.Run("qemu-img finds no fault and may rewrite it", func(t *testing.T) {
		if _, err := exec.LookPath("qemu-img"); err != nil {
			if os.Getenv("REQUIRE_QEMU_IMG") != "" {
				t.Fatal("qemu-img is not installed, and REQUIRE_QEMU_IMG says that it must be")
			}
			t.Skip("qemu-img is not installed; REQUIRE_QEMU_IMG=1 makes that a failure")
		}
		if out, err := exec.Command("qemu-img", "check", disk).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img check: %v\n%s", err, out)
		}
		dir := t.TempDir()
		overlay, packed := filepath.Join(dir, "o.qcow2"), filepath.Join(dir, "p.qcow2")
		for _, args := range [][]string{
			{"create", "-q", "-f", "qcow2", "-b", disk, "-F", "qcow2", overlay},
			{"convert", "-c", "-O", "qcow2", disk, packed},
		} {
			if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
				t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
			}
		}
		signer, line := key(t)
		for _, d := range []string{overlay, packed} {
			spec := Spec{ID: "i", Disk: d, Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
			m := power(t, &Fast{}, spec)
			_, out, _ := run(t, login(t, spec.SSH, "opc", signer), "wc -c </srv/f", "")
			if out != "200000\n" {
				t.Errorf("%s: %q", filepath.Base(d), out)
			}
			m.Kill()
			if out, err := exec.Command("qemu-img", "check", d).CombinedOutput(); err != nil {
				t.Errorf("qemu-img check after use: %v\n%s", err, out)
			}
		}
	})
	for name, data := range map[string]string{"empty": "", "not qcow2": strings.Repeat("a", 1000)} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (&Fast{}).Start(t.Context(), Spec{Disk: bad}); err == nil {
			t.Errorf("%s: a machine started", name)
		}
	}
}
