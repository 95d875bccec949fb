// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each kind of difference between two file systems is found, and nothing else. debugfs
// makes what only root could make otherwise.
func TestCompareTrees(t *testing.T) {
	needE2fsprogs(t)
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	for name, text := range map[string]string{"etc/hosts": "127.0.0.1 localhost\n", "etc/gone": "x", "etc/other": "old", "usr/bin/ping": "program", "with blanks/it's here": "y", "var/log/wtmp": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(files, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("hosts", filepath.Join(files, "etc/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(files, "etc/hosts"), filepath.Join(files, "etc/twice")); err != nil {
		t.Fatal(err)
	}
	image, captured := filepath.Join(dir, "image"), filepath.Join(dir, "captured")
	command(t, "mke2fs", "-q", "-t", "ext4", "-d", files, image, "16M")
	tree := readTree(t, image)
	for name, mode := range map[string]string{"/": "040", "/etc/hosts": "100644", "/etc/link": "120777", "/with blanks/it's here": "100644", "/lost+found": "040700"} {
		if got, is := tree[name]; !is || !strings.HasPrefix(got.mode, mode) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if a := tree["/etc/twice"]; a != tree["/etc/hosts"] || a.size != "20" || len(a.content) != 64 || tree["/etc/link"].content != "hosts" {
		t.Errorf("%+v", tree)
	}
	fresh := filepath.Join(dir, "fresh")
	if err := os.WriteFile(fresh, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change []string // commands of debugfs
		want   []string // beginnings of what is found
	}{
		{"nothing", nil, nil},
		{"a file is gone", []string{"rm /etc/gone"}, []string{"/etc/gone: not in the captured disk"}},
		{"a file more", []string{"write " + fresh + " /etc/new"}, []string{"/etc/new: not in the image"}},
		{"another content", []string{"rm /etc/other", "write " + fresh + " /etc/other"}, []string{"/etc/other: content"}},
		{"another size", []string{"sif /etc/other size 2"}, []string{"/etc/other: size", "/etc/other: content"}},
		{"another mode", []string{"sif /usr/bin/ping mode 0104755"}, []string{"/usr/bin/ping: mode"}},
		{"another owner", []string{"sif /etc uid 5"}, []string{"/etc: owner"}},
		{"another group", []string{"sif / gid 7"}, []string{"/: owner"}},
		{"a capability", []string{"ea_set /usr/bin/ping security.capability abcdefghijklmnopqrst"}, []string{"/usr/bin/ping: attributes"}},
		{"of a file with two names", []string{"ea_set /etc/hosts user.x y"}, []string{"/etc/hosts: attributes", "/etc/twice: attributes"}},
		{"another target", []string{"rm /etc/link", "symlink /etc/link group"}, []string{"/etc/link: content"}},
		{"a device", []string{"mknod null c 1 3"}, []string{"/null: not in the image"}},
		{"of another kind", []string{"rm /etc/link", "mkdir /etc/link"}, []string{"/etc/link: mode", "/etc/link: size", "/etc/link: content"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := os.ReadFile(image)
			if err == nil {
				err = os.WriteFile(captured, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range tt.change {
				command(t, "debugfs", "-w", "-R", c, captured)
			}
			got := compareTrees(tree, readTree(t, captured))
			for i, u := range got {
				if i >= len(tt.want) || !strings.HasPrefix(u.String(), tt.want[i]) {
					t.Errorf("%s", u)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d differences, and not %q", len(got), tt.want)
			}
		})
	}
}

// needE2fsprogs skips where they are not installed.
func needE2fsprogs(t *testing.T) {
	t.Helper()
	for _, name := range []string{"debugfs", "mke2fs"} {
		if _, err := exec.LookPath("/usr/sbin/" + name); err != nil {
			if _, err := exec.LookPath(name); err != nil {
				t.Skipf("%s is not installed", name)
			}
		}
	}
}

// What may differ is what docs/capture.md lists, and no more.
func TestDocumentedDifferences(t *testing.T) {
	m, err := documentedDifferences()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/etc", "/etc/passwd", "/etc/ssh/sshd_config", "/var", "/var/lib", "/var/log", "/usr/bin/sudo", "/boot/efi", "/root", "/var/lib/systemd", "/tmp", "/tmp/x", "/var/tmp"} {
		if by, ok := m.allows(name); ok {
			t.Errorf("%s may differ, by %q", name, by)
		}
	}
	for _, name := range []string{"/var/log/wtmp", "/var/lib/systemd/random-seed", "/var/tmp/systemd-private-1-x.service-2/tmp"} {
		if _, ok := m.allows(name); !ok {
			t.Errorf("%s may not differ", name)
		}
	}
	patterns := mayDiffer{[]string{"/a/*.x", "/b/", "/c/*/d/"}}
	for name, want := range map[string]bool{"/a/1.x": true, "/a/1.y": false, "/a/b/1.x": false, "/b": false, "/b/1": true, "/b/1/2": true, "/bb/1": false, "/c/1/d/2/3": true, "/c/1/e/2": false} {
		if _, ok := patterns.allows(name); ok != want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}
