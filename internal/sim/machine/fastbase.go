// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

const osRelease = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
`

// The users a Fast machine knows. A cloud image has one login user; which one
// depends on the distribution, so each usual name works and shares a home of
// its own.
type account struct {
	name string
	uid  int
	home string
}

func accounts() []account {
	return []account{
		{"root", 0, "/root"},
		{"debian", 1000, "/home/debian"},
		{"ubuntu", 1001, "/home/ubuntu"},
		{"opc", 1002, "/home/opc"},
		{"admin", 1003, "/home/admin"},
	}
}

func accountByName(name string) (account, bool) {
	for _, a := range accounts() {
		if a.name == name {
			return a, true
		}
	}
	return account{}, false
}

func accountByUID(uid int) account {
	for _, a := range accounts() {
		if a.uid == uid {
			return a
		}
	}
	return account{name: fmt.Sprint(uid), uid: uid, home: "/"}
}

// populate lays out a fresh system and the caller's files on it.
func populate(t *tree, files map[string]string) error {
	for _, d := range []string{"/bin", "/boot", "/etc/ssh", "/home", "/opt", "/root", "/srv", "/usr/bin", "/usr/local/bin",
		"/usr/sbin", "/usr/share", "/var/cache", "/var/lib", "/var/log"} {
		if err := t.mkdirAll(d, 0o755, 0); err != nil {
			return err
		}
	}
	if err := layout(t); err != nil {
		return err
	}
	var passwd, group strings.Builder
	for _, a := range accounts() {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::%s:/bin/bash\n", a.name, a.uid, a.uid, a.home)
		fmt.Fprintf(&group, "%s:x:%d:\n", a.name, a.uid)
	}
	all := map[string]string{
		"/etc/os-release":     osRelease,
		"/etc/debian_version": "12.11\n",
		"/etc/hostname":       "localhost\n",
		"/etc/passwd":         passwd.String(),
		"/etc/group":          group.String(),
	}
	for name, data := range files {
		all[name] = data
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if !path.IsAbs(name) {
			return fmt.Errorf("fast disk: %s is not an absolute name", name)
		}
		if strings.HasSuffix(name, "/") {
			if err := t.mkdirAll(name, 0o755, 0); err != nil {
				return err
			}
			continue
		}
		perm := fs.FileMode(0o644)
		if dir := path.Base(path.Dir(name)); dir == "bin" || dir == "sbin" {
			perm = 0o755
		}
		if err := t.mkdirAll(path.Dir(name), 0o755, 0); err != nil {
			return err
		}
		if err := t.writeFile(name, []byte(all[name]), perm, 0); err != nil {
			return err
		}
	}
	return nil
}

// layout makes what each boot needs, whatever the disk holds: homes, scratch
// folders and those in memory.
func layout(t *tree) error {
	for _, d := range []struct {
		name string
		perm fs.FileMode
	}{
		{"/tmp", 0o777 | fs.ModeSticky}, {"/var/tmp", 0o777 | fs.ModeSticky}, {"/root", 0o700},
		{"/run", 0o755}, {"/dev", 0o755}, {"/dev/shm", 0o777 | fs.ModeSticky}, {"/proc", 0o755}, {"/sys", 0o755},
	} {
		if err := t.mkdirAll(d.name, d.perm, 0); err != nil {
			return err
		}
		if err := t.chmod(d.name, d.perm, 0); err != nil {
			return err
		}
	}
	for _, a := range accounts() {
		if err := t.mkdirAll(a.home, 0o755, 0); err != nil {
			return err
		}
		if err := t.chown(a.home, a.uid, 0); err != nil {
			return err
		}
	}
	return nil
}
