// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Clean removes below root what is a machine's own, so that machines that start from
// the image do not share it: the machine's id, the seed of its random numbers, its host
// keys where something makes new ones, what cloud-init and DHCP remember of it, and
// what the build left in logs and in the histories of shells. It does what the script
// forget.sh of example/pipeline does, as far as that belongs to every image, and may be
// run after it. What ours does not say to be on the captured disk is left alone: homes of
// a network, for one.
func Clean(root string, ours func(path string) bool) error {
	c := cleaner{root: root, ours: ours}
	// Empty, not absent: systemd makes a new id in place, and does not take the boot for
	// an installation.
	c.truncate("etc/machine-id")
	c.remove("var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret")
	if c.keysComeBack() {
		c.remove("etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub")
	}
	c.remove("var/lib/cloud/instance", "var/lib/cloud/instances/*", "var/lib/cloud/data/*", "var/lib/cloud/sem/*")
	c.remove("var/lib/dhcp/*.leases", "var/lib/NetworkManager/*.lease")
	c.remove("root/.bash_history", "home/*/.bash_history", "root/.lesshst", "home/*/.lesshst", "root/.wget-hsts", "home/*/.wget-hsts")
	c.remove("var/lib/sudo/lectured/*", "var/log/journal/*", "var/log/*.gz", "var/log/*.[0-9]", "var/log/*/*.gz", "var/log/*/*.[0-9]")
	return errors.Join(append(c.errs, c.emptyLogs())...)
}

type cleaner struct {
	root string
	ours func(path string) bool
	errs []error
}

// emptyLogs leaves all logs in place, and nothing in them. Their folder may be a link.
func (c *cleaner) emptyLogs() error {
	root, err := filepath.EvalSymlinks(c.root)
	if err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(c.path("var/log"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !within(dir, root) {
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case d.IsDir() && !c.ours(path):
			return fs.SkipDir
		case d.Type().IsRegular() && c.ours(path):
			err = os.Truncate(path, 0)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
}

func (c *cleaner) path(name string) string { return filepath.Join(c.root, name) }

func (c *cleaner) truncate(name string) {
	// A link leads elsewhere.
	if i, err := os.Lstat(c.path(name)); err != nil || !i.Mode().IsRegular() || i.Size() == 0 || !c.ours(c.path(name)) {
		return
	}
	if err := os.Truncate(c.path(name), 0); err != nil {
		c.errs = append(c.errs, err)
	}
}

func (c *cleaner) remove(patterns ...string) {
	for _, p := range patterns {
		names, _ := filepath.Glob(c.path(p))
		for _, n := range names {
			if strings.HasSuffix(n, "/dbus/machine-id") {
				if i, err := os.Lstat(n); err != nil || !i.Mode().IsRegular() {
					continue // the usual link to the other one
				}
			}
			if _, err := c.removeAll(n); err != nil {
				c.errs = append(c.errs, err)
			}
		}
	}
}

// removeAll removes what is at a path and below it. It leaves what is mounted there from
// elsewhere, and says so.
func (c *cleaner) removeAll(path string) (left bool, err error) {
	i, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	if !c.ours(path) {
		return true, nil
	}
	var list []fs.DirEntry
	if i.IsDir() {
		list, err = os.ReadDir(path)
	}
	for _, e := range list {
		l, lerr := c.removeAll(filepath.Join(path, e.Name()))
		left, err = left || l, errors.Join(err, lerr)
	}
	if left || err != nil {
		return true, err
	}
	if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return false, err
}

// keysComeBack says whether something on the machine makes host keys where there are
// none: cloud-init, or a unit of the distribution. Without it nobody could sign in to
// the image's machines, so that what is in doubt keeps the keys.
func (c *cleaner) keysComeBack() bool {
	if c.exists("usr/bin/cloud-init") && !c.disabled() {
		// Units of distributions leave the keys to it: that of Oracle Linux does not run
		// beside it.
		units := []string{"cloud-init.target", "cloud-init-main.service", "cloud-init-local.service", "cloud-init.service", "cloud-init-network.service"}
		return !slices.ContainsFunc(units, c.masked) && c.wanted()
	}
	for _, unit := range []string{"sshd-keygen@.service", "ssh-keygen.service"} {
		if c.exists("usr/lib/systemd/system/"+unit) && !c.masked(unit) {
			return true
		}
	}
	return false
}

// disabled says whether cloud-init's generator leaves it out of every start.
func (c *cleaner) disabled() bool {
	line, _ := os.ReadFile(c.path("proc/cmdline"))
	return c.exists("etc/cloud/cloud-init.disabled") || slices.Contains(strings.Fields(string(line)), "cloud-init=disabled")
}

// wanted says whether the unit of cloud-init that makes host keys is started at boot. Where
// it has no such unit something else is trusted to start it.
func (c *cleaner) wanted() bool {
	installed := false
	for _, unit := range []string{"cloud-init.service", "cloud-init-network.service"} {
		for _, dir := range []string{"etc", "usr/lib"} {
			if links, _ := filepath.Glob(c.path(dir + "/systemd/system/*.wants/" + unit)); len(links) > 0 {
				return true
			}
		}
		installed = installed || c.exists("usr/lib/systemd/system/"+unit)
	}
	return !installed
}

// masked says whether somebody has forbidden a unit.
func (c *cleaner) masked(unit string) bool {
	path := c.path("etc/systemd/system/" + unit)
	if to, err := os.Readlink(path); err == nil {
		return to == os.DevNull
	}
	i, err := os.Lstat(path)
	return err == nil && i.Mode().IsRegular() && i.Size() == 0
}

func (c *cleaner) exists(name string) bool {
	_, err := os.Lstat(c.path(name))
	return err == nil
}

// ForgetKey removes a key from the authorized keys of all users below root: by its comment,
// or by its public part in base64, since EC2 gives it another comment where it is a key
// pair. Neither is no key.
func ForgetKey(root, comment, public string) error {
	if comment == "" && public == "" {
		return nil
	}
	ours := func(line string) bool {
		return comment != "" && strings.HasSuffix(strings.TrimSpace(line), " "+comment) || public != "" && slices.Contains(strings.Fields(line), public)
	}
	homes := []string{"root"}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(passwd)) {
		if f := strings.Split(line, ":"); len(f) > 5 && f[5] != "" {
			homes = append(homes, f[5])
		}
	}
	var errs []error
	for _, h := range homes {
		path := filepath.Join(root, h, ".ssh/authorized_keys")
		i, err := os.Lstat(path)
		if err != nil || !i.Mode().IsRegular() {
			continue
		}
		old, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var kept strings.Builder
		for line := range strings.Lines(string(old)) {
			if !ours(line) {
				kept.WriteString(line)
			}
		}
		if kept.Len() < len(old) { // in place: owner and mode stay
			errs = append(errs, os.WriteFile(path, []byte(kept.String()), i.Mode().Perm()))
		}
	}
	return errors.Join(errs...)
}
