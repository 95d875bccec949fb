// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree writes files below a folder; a name that ends in " -> x" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path, target, link := strings.Cut(name, " -> ")
		path = filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// content is every file below a folder with what it holds.
func content(t *testing.T, root string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.Type()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			got[name+" -> "+target] = ""
			return err
		}
		b, err := os.ReadFile(path)
		got[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// everything is on the disk that is captured.
func everything(string) bool { return true }

func TestClean(t *testing.T) {
	files := map[string]string{
		"etc/machine-id": "0123\n", "var/lib/dbus/machine-id -> /etc/machine-id": "", "usr/bin/cloud-init": "x",
		"etc/ssh/ssh_host_rsa_key": "x", "etc/ssh/ssh_host_rsa_key.pub": "x", "etc/ssh/sshd_config": "kept",
		"var/lib/cloud/instances/i-1/x": "x", "var/lib/cloud/instance -> instances/i-1": "", "var/lib/cloud/seed/nocloud/user-data": "kept",
		"var/lib/systemd/random-seed": "x", "var/lib/dhcp/dhclient.eth0.leases": "x", "home/debian/.bash_history": "x", "home/debian/.profile": "kept",
		"var/log/wtmp": "x", "var/log/syslog.1": "x", "var/log/apt/history.log": "x", "var/log/apt/history.log.1.gz": "x", "var/log/journal/0123/system.journal": "x", "var/log/README -> ../../usr/share/doc": "",
	}
	root := tree(t, files)
	for range 2 { // the second time changes nothing
		if err := Clean(root, everything); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"etc/machine-id": "", "var/lib/dbus/machine-id -> /etc/machine-id": "", "usr/bin/cloud-init": "x", "etc/ssh/sshd_config": "kept",
			"var/lib/cloud/seed/nocloud/user-data": "kept", "home/debian/.profile": "kept", "var/log/wtmp": "", "var/log/apt/history.log": "", "var/log/README -> ../../usr/share/doc": "",
		}
		if got := content(t, root); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	// Without anything that makes host keys nobody could sign in any more.
	root = tree(t, map[string]string{"etc/ssh/ssh_host_rsa_key": "x", "var/log/x": ""})
	if err := Clean(root, everything); err != nil || content(t, root)["etc/ssh/ssh_host_rsa_key"] != "x" {
		t.Errorf("%v, %v", content(t, root), err)
	}
}

func TestForgetKey(t *testing.T) {
	const key = "ssh-ed25519 AAAA packer-1\n"
	root := tree(t, map[string]string{
		"etc/passwd":                       "root:x:0:0::/root:/bin/sh\ndebian:x:1:1::/home/debian:/bin/sh\nubuntu:x:2:2::/home/ubuntu:/bin/sh\nnobody:x:3:3:::\n",
		"root/.ssh/authorized_keys":        "no-pty " + key + "ssh-rsa BBBB mine\n",
		"home/debian/.ssh/authorized_keys": key, "home/ubuntu/.ssh/authorized_keys": "ssh-rsa CCCC packer-10\n",
	})
	homes := []string{"root", "home/debian", "home/ubuntu"}
	for _, tt := range []struct {
		comment, public string
		want            []string
	}{
		{"", "", []string{"no-pty " + key + "ssh-rsa BBBB mine\n", key, "ssh-rsa CCCC packer-10\n"}},
		{"packer-1", "DDDD", []string{"ssh-rsa BBBB mine\n", "", "ssh-rsa CCCC packer-10\n"}},
		{"packer-2", "CCCC", []string{"ssh-rsa BBBB mine\n", "", ""}},
	} {
		if err := ForgetKey(root, tt.comment, tt.public); err != nil {
			t.Fatal(err)
		}
		got := content(t, root)
		for i, home := range homes {
			if text := got[home+"/.ssh/authorized_keys"]; text != tt.want[i] {
				t.Errorf("%q: %s: %q", tt.comment, home, text)
			}
		}
	}
}

func TestToStop(t *testing.T) {
	listed := `cron.service loaded active running Regular background program processing daemon
ssh.service loaded active running OpenBSD Secure Shell server
ssh.socket loaded active listening x
systemd-networkd.service loaded active running Network Configuration
systemd-timesyncd.service loaded active running Network Time Synchronization
dbus.socket loaded active listening D-Bus
snapd.socket loaded active listening Socket activation for snappy daemon
apt-daily.timer loaded active waiting Daily apt download activities
my-way-in.service loaded active running x
user@1000.service loaded active running User Manager for UID 1000
`
	got := toStop(listed, []string{"my-way-in.service", "user.slice"})
	if want := []string{"cron.service", "systemd-timesyncd.service", "snapd.socket", "apt-daily.timer"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// machine is a machine whose root is on LVM on the second partition of sda, beside a
// boot partition and an ESP, and a second disk.
func machine(t *testing.T, mounts string) roots {
	t.Helper()
	root := tree(t, map[string]string{
		"proc/self/mountinfo": mounts, "dev/sda3": "", "dev/dm-1": "",
		"sys/devices/sda/size":           "4096\n",
		"sys/devices/sda/stat":           " 1 2 3 4 5 6 700 8 9 10 11 12 13 44 15 16 17\n",
		"sys/devices/sda/sda1/partition": "1", "sys/devices/sda/sda1/start": "1", "sys/devices/sda/sda1/size": "100\n", "sys/devices/sda/sda1/dev": "8:1\n",
		"sys/devices/sda/sda2/partition": "2", "sys/devices/sda/sda2/start": "200", "sys/devices/sda/sda2/size": "1800", "sys/devices/sda/sda2/dev": "8:2\n",
		"sys/devices/sda/sda2/holders/dm-0 -> ../../../dm-0": "", "sys/devices/sda/sda2/holders/dm-1 -> ../../../dm-1": "",
		"sys/devices/dm-0/dev": "253:0\n", "sys/devices/dm-1/dev": "253:1\n",
		"sys/devices/sda/sda3/partition": "3", "sys/devices/sda/sda3/start": "3000", "sys/devices/sda/sda3/size": "100", "sys/devices/sda/sda3/dev": "8:3\n",
		"sys/devices/loop0/loop/backing_file": "/var/lib/disk image\n", "sys/devices/loop1/loop/backing_file": "/data here/disk (deleted)\n",
		"sys/dev/block/7:0 -> ../../devices/loop0": "", "sys/dev/block/7:1 -> ../../devices/loop1": "",
		"sys/devices/sdb/size": "1", "sys/devices/sdb/sdb1/partition": "1", "sys/devices/sdb/sdb1/dev": "8:17\n",
		"sys/devices/dm-0/slaves/sda2/dev": "8:2\n", "sys/devices/dm-1/slaves/sda2/dev": "8:2\n", "sys/devices/dm-1/slaves/sdb1/dev": "8:17\n",
		"sys/block/sda -> ../devices/sda": "", "sys/block/sdb -> ../devices/sdb": "",
		"sys/dev/block/8:1 -> ../../devices/sda/sda1": "", "sys/dev/block/8:2 -> ../../devices/sda/sda2": "", "sys/dev/block/8:17 -> ../../devices/sdb/sdb1": "",
		"sys/dev/block/253:0 -> ../../devices/dm-0": "", "sys/dev/block/253:1 -> ../../devices/dm-1": "",
	})
	return roots{filepath.Join(root, "proc"), filepath.Join(root, "sys"), filepath.Join(root, "dev")}
}

func TestDisk(t *testing.T) {
	const usual = `21 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/vg-root rw,attr2
22 21 0:5 / /proc rw - proc proc rw
23 21 8:1 / /boot/efi rw shared:2 - vfat /dev/sda1 rw,fmask=0077
24 21 8:17 / /data\040here rw - ext4 /dev/sdb1 rw
25 21 253:0 /srv /bound rw - xfs /dev/mapper/vg-root rw
26 21 0:30 / /run rw - tmpfs tmpfs rw
27 21 7:0 / /loop rw - ext4 /dev/loop0 rw
29 21 0:77 / /of\040nothing rw - tmpfs  rw
28 21 7:1 / /data\040here/loop rw - ext4 /dev/loop1 rw
`
	r := machine(t, usual)
	d, err := r.disk("/")
	if err != nil {
		t.Fatal(err)
	}
	on, err := r.on(d)
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for _, m := range on {
		points = append(points, m.point)
	}
	if d.Name != "sda" || d.Path != filepath.Join(r.dev, "sda") || d.Size != 4096*512 || !slices.Equal(points, []string{"/loop", "/", "/boot/efi"}) {
		t.Errorf("%+v, %q", d, points)
	}
	parts, err := r.parts(d, on, []string{"8:3"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{Number: 1, Start: 512, End: 101 * 512, Mounted: "vfat", dev: "8:1"},
		{Number: 2, Start: 200 * 512, End: 2000 * 512, Holders: []string{"dm-0", "dm-1"}, dev: "8:2"},
		{Number: 3, Start: 3000 * 512, End: 3100 * 512, Mounted: "swap", dev: "8:3"},
	}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", parts, want)
	}
	if n, err := d.Written(); err != nil || n != 744 {
		t.Errorf("%d, %v", n, err)
	}
	if err := d.count(); err == nil || !strings.Contains(err.Error(), "must count what is written to sda") {
		t.Errorf("without a switch: %v", err)
	}
	for name, tt := range map[string]struct{ mounts, says string }{
		"spread":        {"21 1 253:1 / / rw - xfs /dev/mapper/vg-root rw\n", "spread over the disks sda and sdb"},
		"spread beside": {usual + "27 21 253:1 / /var rw - xfs /dev/mapper/vg-var rw\n", "is spread over the disks sda and sdb"},
		"no disk":       {"21 1 0:99 / / rw - overlay overlay rw\n", "no disk that could be read"},
		"no root":       {"22 21 0:5 / /proc rw - proc proc rw\n", "nothing is mounted"},
		"nonsense":      {"what is this\n", "not understood"},
	} {
		r := machine(t, tt.mounts)
		d, err := r.disk("/")
		if err == nil {
			_, err = r.on(d)
		}
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseMounts: whatever a kernel says, nothing panics.
func FuzzParseMounts(f *testing.F) {
	f.Add("21 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/vg-root rw\n")
	f.Add("21 1 8:1 / /a\\040b\\1 rw - x y z\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseMounts(strings.NewReader(text)) })
}

// Who has a file open for writing, or uses one that is deleted, is named; who only reads
// is not.
func TestHolders(t *testing.T) {
	dir := t.TempDir()
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	devs := map[string]bool{fmt.Sprintf("%d:%d", st.Dev>>8&0xfff, st.Dev&0xff|st.Dev>>12&0xfff00): true}
	start := func(script string) int {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script+"; echo ready >&2; sleep 60 <&- 3<&- 4<&- & wait")
		cmd.Dir = dir
		said, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		_, _ = said.Read(make([]byte, 5))
		return cmd.Process.Pid
	}
	writer := start("exec 3>written")
	deleter := start("echo >gone; exec 4<gone; rm gone")
	reader := start("echo >read; exec 4<read")
	inside := start("mkdir inside; cd inside; rmdir ../inside")
	got := map[int]holder{}
	for end := time.Now().Add(5 * time.Second); len(got[writer].writes)+len(got[deleter].deleted)+len(got[inside].deleted) < 3 && time.Now().Before(end); {
		for _, h := range kernel().holders(devs, os.Getpid()) {
			got[h.pid] = h
		}
	}
	if h := got[writer]; len(h.writes) != 1 || h.writes[0] != filepath.Join(dir, "written") || !strings.Contains(h.String(), "sh (process") || !strings.Contains(h.String(), "has open for writing "+dir) {
		t.Errorf("writer: %v", h)
	}
	if h := got[deleter]; len(h.deleted) != 1 || len(h.writes) != 0 || !strings.Contains(h.String(), "still uses, though deleted, "+dir) {
		t.Errorf("deleter: %v", h)
	}
	if h := got[inside]; len(h.deleted) != 1 || h.deleted[0] != filepath.Join(dir, "inside") {
		t.Errorf("inside: %v", h)
	}
	if h, is := got[reader]; is {
		t.Errorf("reader: %v", h)
	}
	if list := kernel().ancestors(writer); len(list) < 2 || list[0] != writer || list[1] != os.Getpid() {
		t.Errorf("ancestors of %d, whose parent is %d: %v", writer, os.Getpid(), list)
	}
}

// A folder that is mounted where a service is, and was removed, is known by its mount.
func TestHoldersOfMounts(t *testing.T) {
	root := tree(t, map[string]string{"7/mountinfo": `21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 8:1 /tmp/systemd-private-1/tmp//deleted /tmp rw - ext4 /dev/sda1 rw
23 21 8:17 /x//deleted /x rw - ext4 /dev/sdb1 rw
`})
	var h holder
	mounts, err := roots{proc: root}.mountsOf("7")
	if err != nil {
		t.Fatal(err)
	}
	h.places(filepath.Join(root, "7"), map[string]bool{"8:1": true}, mounts)
	if !slices.Equal(h.deleted, []string{"/tmp/systemd-private-1/tmp"}) {
		t.Errorf("%q", h.deleted)
	}
}

func TestMayWrite(t *testing.T) {
	for text, want := range map[string]bool{
		"pos:\t0\nflags:\t0100000\nmnt_id:\t29\n": false, "pos:\t0\nflags:\t0100001\n": true, "flags:\t0100002\n": true,
		"flags:\t012000002\n": false, "flags:\tx\n": false, "": false,
	} {
		if mayWrite([]byte(text)) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
	if decimal("08:0f") != "8:15" || decimal("8") != "" || decimal("x:1") != "" {
		t.Error("devices of maps")
	}
}
