// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"
)

func TestShell(t *testing.T) {
	signer, line := key(t)
	spec := Spec{ID: "i", Disk: base(t, map[string]string{
		"/usr/local/bin/hello": "#!/bin/sh\necho hello $1\n",
		"/opt/prog":            "\x7fELF\x02\x01",
	}), Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	d := &Fast{NoExec: []string{"/var/tmp"}}
	power(t, d, spec)
	c := login(t, spec.SSH, "debian", signer)
	for _, tc := range []struct {
		command, stdin string
		status         int
		stdout, stderr string // stderr: a part of it
	}{
		{command: "uname -m", stdout: "aarch64\n"},
		{command: "whoami; id -u; sudo whoami; sudo -n -u opc id -un", stdout: "debian\n1000\nroot\nopc\n"},
		{command: "pwd; cd /etc && pwd -P; hostname", stdout: "/home/debian\n/etc\nbuild-1\n"},
		{command: "hello 'to you'; command -v hello cat; type -p nosuch", status: 1, stdout: "hello to you\n/usr/local/bin/hello\n/usr/bin/cat\n"},
		{command: "nosuch", status: 127, stderr: "nosuch: command not found"},
		{command: "/nosuch", status: 127, stderr: "/nosuch: No such file or directory"},
		{command: "exit 7", status: 7},
		{command: "set -e; false; echo never", status: 1},
		{command: "cat | tr a-z A-Z | tee /tmp/x >/dev/null; cat /tmp/x", stdin: "abc\n", stdout: "ABC\n"},
		{command: "d=$(mktemp -d) && stat -c %a $d && umask 077 && echo x >$d/f && stat -c '%a %U' $d/f && rm -r $d && test ! -e $d",
			stdout: "700\n600 debian\n"},
		{command: "echo x >/etc/x", status: 1, stderr: "ermission denied"},
		{command: "echo x | sudo tee /etc/x && sudo chmod 600 /etc/x && cat /etc/x", status: 1, stdout: "x\n", stderr: "Permission denied"},
		{command: "ls /root", status: 1, stderr: "Permission denied"},
		{command: "/opt/prog", status: 126, stderr: "Permission denied"},
		{command: "sudo chmod 755 /opt/prog; /opt/prog", status: 126, stderr: "cannot execute binary file"},
		{command: "printf '#!/bin/sh\\necho hi\\n' >/var/tmp/s; chmod +x /var/tmp/s; /var/tmp/s", status: 126, stderr: "Permission denied"},
		{command: "printf 'echo $0 $#\\n' >/tmp/s; sh /tmp/s a b; . /tmp/s; chmod +x /tmp/s; A=1 /tmp/s x", stdout: "/tmp/s 2\nbash 0\n/tmp/s 1\n"},
		{command: "printf abc | sha256sum; printf abc | gzip -c | gunzip -dc | base64",
			stdout: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\nYWJj\n"},
		{command: "printf abc >/tmp/a; (cd /tmp; sha256sum a >sums; sha256sum -c sums; printf abd >a; sha256sum -c sums)", status: 1,
			stdout: "a: OK\na: FAILED\n", stderr: "did NOT match"},
		{command: "env -i A=1 env; X=2 printenv X; sudo Y=3 printenv Y; export Z=4; sudo -E printenv Z", stdout: "A=1\n2\n3\n4\n"},
		{command: "grep -c ID /etc/os-release; grep -q '^ID=debian$' /etc/os-release; grep -Eo 'b(ook)worm' /etc/os-release | head -n 1; printf 'a+b\\n' | grep 'a+b'",
			stdout: "2\nbookworm\na+b\n"},
		{command: "seq 5 | tail -n 2; seq 3 | sort -rn | head -1; seq 10 | wc -l; echo a:b:c | cut -d: -f2-", stdout: "4\n5\n3\n10\nb:c\n"},
		{command: "mkdir -p /tmp/q/r && touch /tmp/q/r/f && cp -r /tmp/q /tmp/p && ls /tmp/p/r && mv /tmp/p /tmp/o && [ -f /tmp/o/r/f ]", stdout: "f\n"},
		{command: "timeout 0.01 sleep 60", status: 124},
		{command: "rm --bogus x", status: 2, stderr: "unrecognized option"},
		{command: "cloud-init status --wait", stdout: "status: done\n"},
		{command: "echo $TMPDIR$OLDPWD; set -- a b; echo $#", stdout: "\n2\n"},
		{command: "dd if=/dev/zero bs=1k count=3 2>/dev/null | wc -c; ln -s /etc/hostname /tmp/l; readlink /tmp/l; cat /tmp/l", stdout: "3072\n/etc/hostname\nlocalhost\n"},
	} {
		status, stdout, stderr := run(t, c, tc.command, tc.stdin)
		if status != tc.status || stdout != tc.stdout || !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
			t.Errorf("%s\n got %d %q %q\nwant %d %q %q", tc.command, status, stdout, stderr, tc.status, tc.stdout, tc.stderr)
		}
	}
}

// TestConfinement: whatever a guest tries, it stays in its own files.
func TestConfinement(t *testing.T) {
	signer, line := key(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A disk made elsewhere may hold any link.
	disk := filepath.Join(dir, "disk.qcow2")
	if err := FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	spec := Spec{ID: "i", Disk: disk, Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	power(t, &Fast{}, spec)
	c := login(t, spec.SSH, "debian", signer)
	up := strings.Repeat("../", 20)
	for _, command := range []string{
		"cat " + secret,
		"cat " + up + secret[1:],
		"cd /; cat <" + up + secret[1:],
		"ln -s " + secret + " /tmp/l; cat /tmp/l",
		"ln -s " + up + secret[1:] + " /tmp/m; cat /tmp/m; cat </tmp/m",
		"ln -s / /tmp/r; cat /tmp/r" + secret,
		"ln -s " + up + " /tmp/u; cat /tmp/u" + secret,
		". " + secret,
		"test -e " + secret,
		"cd " + dir,
		"ls " + dir,
		"for f in " + dir + "/*; do test -e $f && exit 0; done; exit 1",
		"exec " + secret,
		"cat <(cat " + secret + ")",
		"echo x >" + up + dir[1:] + "/new",
		"sudo ln -sfn " + dir + " /opt/d; echo x | sudo tee /opt/d/new",
		"eval 'cat " + secret + "'",
	} {
		status, stdout, _ := run(t, c, command, "")
		if status == 0 || strings.Contains(stdout, "host") {
			t.Errorf("%s: status %d, output %q", command, status, stdout)
		}
	}
	f, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, name := range []string{secret, up + secret[1:], "/tmp/l", "/tmp/m", "/tmp/r" + secret} {
		if _, err := f.Open(name); err == nil {
			t.Errorf("sftp opened %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a file of the guest appeared on the host")
	}
	// The interpreter keeps its named pipes where no host has a folder.
	if matches, _ := filepath.Glob(filepath.Join(os.TempDir(), "sh-interp-*")); len(matches) > 0 {
		t.Errorf("left on the host: %v", matches)
	}
}
