// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// key makes a login key and its line for authorized_keys.
func key(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

// metadata is the least that a guest needs of OCI.
func metadata(id, keys, userData string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/opc/v2/instance/" || r.Header.Get("Authorization") != "Bearer Oracle" {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"id": id, "hostname": "build-1",
			"metadata": map[string]string{"ssh_authorized_keys": keys, "user_data": userData}})
	})
}

// freeAddr is a loopback address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func base(t *testing.T, files map[string]string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := FastDisk(disk, files); err != nil {
		t.Fatal(err)
	}
	return disk
}

func power(t *testing.T, d *Fast, spec Spec) Machine {
	t.Helper()
	if spec.SSH == "" {
		spec.SSH = freeAddr(t)
	}
	spec.Cloud, spec.CPUs = OCI, 1
	if spec.Firmware == "" {
		spec.Firmware = UEFI64
	}
	m, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Kill() })
	return m
}

// login waits until sshd answers and logs in.
func login(t *testing.T, addr, user string, s ssh.Signer) *ssh.Client {
	t.Helper()
	conn := dial(t, addr)
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, clientConfig(user, s))
	if err != nil {
		t.Fatalf("login as %s: %v", user, err)
	}
	client := ssh.NewClient(c, chans, reqs)
	t.Cleanup(func() { client.Close() })
	return client
}

func clientConfig(user string, s ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(s)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// run runs one command and returns its status and streams.
func run(t *testing.T, c *ssh.Client, command, stdin string) (status int, stdout, stderr string) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &out, &errs
	if err := s.Run(command); err != nil {
		var ee *ssh.ExitError
		if !errors.As(err, &ee) {
			t.Fatalf("%s: %v (stderr %q)", command, err, errs.String())
		}
		status = ee.ExitStatus()
	}
	return status, out.String(), errs.String()
}

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

func TestLogin(t *testing.T) {
	signer, line := key(t)
	other, _ := key(t)
	disk := base(t, nil)
	start := func(b Behaviour) (string, Machine) {
		spec := Spec{ID: "i", Disk: disk, Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
		return spec.SSH, power(t, &Fast{Behave: func(Spec) Behaviour { return b }}, spec)
	}
	try := func(addr, user string, s ssh.Signer) error {
		c, _, _, err := ssh.NewClientConn(dial(t, addr), addr, clientConfig(user, s))
		if err == nil {
			c.Close()
		}
		return err
	}
	addr, m := start(Behaviour{})
	for _, user := range []string{"debian", "opc", "ubuntu"} {
		if err := try(addr, user, signer); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	for user, s := range map[string]ssh.Signer{"root": signer, "nobody": signer, "debian": other} {
		if err := try(addr, user, s); err == nil {
			t.Errorf("%s came in", user)
		}
	}
	m.Kill()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening after Kill")
	}

	addr, m = start(Behaviour{RefuseKeys: true})
	if err := try(addr, "debian", signer); err == nil {
		t.Error("a key was accepted")
	}
	m.Kill()

	addr, m = start(Behaviour{Hang: true})
	conn := dial(t, addr)
	read := make(chan error, 1)
	go func() { _, err := conn.Read(make([]byte, 1)); read <- err }()
	select {
	case err := <-read:
		t.Errorf("a hanging machine answered (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	m.Kill()
	<-read

	for name, spec := range map[string]Spec{
		"BIOS": {ID: "i", Disk: disk, Firmware: BIOS, SSH: freeAddr(t)},
		"dead": {ID: "dead", Disk: disk, SSH: freeAddr(t)},
	} {
		m := power(t, &Fast{Behave: func(s Spec) Behaviour { return Behaviour{Dead: s.ID == "dead"} }}, spec)
		if _, err := net.DialTimeout("tcp", spec.SSH, 50*time.Millisecond); err == nil {
			t.Errorf("%s: it listens", name)
		}
		m.Kill()
	}
}

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

func TestShutdownObeysContext(t *testing.T) {
	m := power(t, &Fast{Behave: func(Spec) Behaviour { return Behaviour{IgnorePowerButton: true} }}, Spec{ID: "i", Disk: base(t, nil)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestKillEndsSessions: a command that waits for ever ends with its machine.
func TestKillEndsSessions(t *testing.T) {
	signer, line := key(t)
	spec := Spec{ID: "i", Disk: base(t, nil), Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	m := power(t, &Fast{}, spec)
	c := login(t, spec.SSH, "debian", signer)
	ended := make(chan error, 3)
	for _, command := range []string{"sleep 3600", "cat", "cat /dev/zero >/dev/null"} {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(command); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- s.Wait() }()
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-ended; err == nil {
			t.Error("a command ended well though its machine lost power")
		}
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
			t.Skip("qemu-img is not installed")
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
