// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostKey makes a host key in the forms of OpenSSH.
func hostKey(t *testing.T) (private, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// shown is the host key that sshd at an address shows.
func shown(t *testing.T, addr string, login ssh.Signer) string {
	t.Helper()
	var key ssh.PublicKey
	config := clientConfig("debian", login)
	config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
	check := config.HostKeyCallback
	config.HostKeyCallback = func(host string, remote net.Addr, k ssh.PublicKey) error {
		key = k
		return check(host, remote, k)
	}
	c, chans, reqs, err := ssh.NewClientConn(dial(t, addr), addr, config)
	if err != nil {
		t.Fatal(err)
	}
	ssh.NewClient(c, chans, reqs).Close()
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// printed are the keys that the console shows, as a client would look for them.
func printed(console []byte) []string {
	_, rest, begun := strings.Cut(string(console), "-----BEGIN SSH HOST KEY KEYS-----\n")
	block, _, ended := strings.Cut(rest, "\n-----END SSH HOST KEY KEYS-----")
	if !begun || !ended {
		return nil
	}
	return strings.Split(block, "\n")
}

// TestGivenHostKey: a host key in the user data is the machine's own, whatever
// form the user data has.
func TestGivenHostKey(t *testing.T) {
	private, public := hostKey(t)
	indented := "    " + strings.ReplaceAll(strings.TrimSpace(private), "\n", "\n    ")
	yaml := "#cloud-config\n# one time only\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n" + indented + "\n  ed25519_public: " + public + "\nruncmd:\n  - [ls, -l]\n"
	asJSON, err := json.Marshal(map[string]any{"ssh_keys": map[string]string{"ed25519_private": private, "ed25519_public": public}})
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho ran >>/etc/ran\n"
	message := "Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/cloud-config; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n" +
		yaml + "\n--b\nContent-Type: text/x-shellscript\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(script)) + "\n--b--\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(message)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		data string
		ran  string
	}{
		"YAML":               {data: yaml},
		"YAML, private only": {data: strings.Replace(yaml, "  ed25519_public: "+public+"\n", "", 1)},
		"YAML, quoted":       {data: "#cloud-config\nssh_keys:\n  ed25519_private: " + quoted(private) + "\n  ed25519_public: '" + public + "'\n"},
		"JSON":               {data: "#cloud-config\n" + string(asJSON)},
		"a message":          {data: message, ran: "ran\n"},
		"CRLF":               {data: strings.ReplaceAll(message, "\n", "\r\n")},
		"packed":             {data: packed.String(), ran: "ran\n"},
	} {
		t.Run(name, func(t *testing.T) {
			signer, line := key(t)
			spec := Spec{ID: "i", Disk: base(t, nil), SSH: freeAddr(t), Metadata: metadata("i1", line, base64.StdEncoding.EncodeToString([]byte(tc.data)))}
			m := power(t, &Fast{}, spec)
			if got := shown(t, spec.SSH, signer); got != public {
				t.Fatalf("the machine shows %s, want %s\n%s", got, public, m.Console())
			}
			if lines := printed(m.Console()); len(lines) != 1 || !strings.HasPrefix(lines[0], public) {
				t.Errorf("the console has %q", lines)
			}
			c := login(t, spec.SSH, "debian", signer)
			_, out, _ := run(t, c, "sudo stat -c %a /etc/ssh/ssh_host_ed25519_key /var/lib/cloud/instance/user-data.txt; cat /etc/ran", "")
			if !strings.HasPrefix(out, "600\n600\n") || (tc.ran != "" && out != "600\n600\n"+tc.ran) {
				t.Errorf("on the disk: %q", out)
			}
		})
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }

// TestOwnHostKey: without one in the user data each instance makes its own,
// says it once, keeps it, and does not leave it to the next one.
func TestOwnHostKey(t *testing.T) {
	signer, line := key(t)
	spec := Spec{ID: "i", Disk: base(t, map[string]string{"/etc/ssh/ssh_host_rsa_key": "of the image", "/etc/ssh/ssh_host_rsa_key.pub": "of the image"}),
		SSH: freeAddr(t), Metadata: metadata("i1", line, "")}
	m := power(t, &Fast{}, spec)
	first := shown(t, spec.SSH, signer)
	if lines := printed(m.Console()); len(lines) != 1 || lines[0] != first+" root@build-1" {
		t.Errorf("the console has %q, the machine shows %s", lines, first)
	}
	if text := string(m.Console()); !strings.Contains(text, "cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----") || !strings.Contains(text, " cloud-init: 256 SHA256:") ||
		!strings.Contains(text, " root@build-1 (ED25519)\n") {
		t.Errorf("the console has %s", text)
	}
	if _, out, _ := run(t, login(t, spec.SSH, "debian", signer), "ls /etc/ssh", ""); out != "ssh_host_ed25519_key\nssh_host_ed25519_key.pub\n" {
		t.Errorf("/etc/ssh has %q", out)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(spec.Disk)
	if err != nil {
		t.Fatal(err)
	}
	again := power(t, &Fast{}, spec)
	if got := shown(t, spec.SSH, signer); got != first {
		t.Errorf("after it was started again the machine shows %s, want %s", got, first)
	}
	if lines := printed(again.Console()); lines != nil {
		t.Errorf("the keys are printed again: %q", lines)
	}
	// Removed, as before an image is made: the machine comes up all the same.
	run(t, login(t, spec.SSH, "debian", signer), "sudo rm -f /etc/ssh/ssh_host_*; sudo cloud-init clean --logs --seed", "")
	if err := again.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	spec2 := Spec{ID: "j", Disk: filepath.Join(t.TempDir(), "copy.qcow2"), SSH: freeAddr(t), Metadata: metadata("i2", line, "")}
	if err := os.WriteFile(spec2.Disk, image, 0o600); err != nil {
		t.Fatal(err)
	}
	power(t, &Fast{}, spec2)
	if got := shown(t, spec2.SSH, signer); got == first {
		t.Error("a copy shows the key of the machine it was made of")
	}
	clean := Spec{ID: "k", Disk: spec.Disk, SSH: freeAddr(t), Metadata: metadata("i1", line, "")}
	if m := power(t, &Fast{}, clean); shown(t, clean.SSH, signer) == first || printed(m.Console()) == nil {
		t.Errorf("after \"cloud-init clean\" it is not a first boot: %s", m.Console())
	}
}

// TestNoHostKey: nothing is printed if the user data says so, and a key that
// cannot be read leaves nothing to log in to.
func TestNoHostKey(t *testing.T) {
	signer, line := key(t)
	silent := "#cloud-config\nssh:\n  emit_keys_to_console: false\n"
	spec := Spec{ID: "i", Disk: base(t, nil), SSH: freeAddr(t), Metadata: metadata("i1", line, base64.StdEncoding.EncodeToString([]byte(silent)))}
	m := power(t, &Fast{}, spec)
	shown(t, spec.SSH, signer)
	if strings.Contains(string(m.Console()), "SSH HOST KEY") {
		t.Errorf("the console has %s", m.Console())
	}
	broken := "#cloud-config\nssh_keys:\n  ed25519_private: |\n    nonsense\n  ed25519_public: ssh-ed25519 nonsense\n"
	spec = Spec{ID: "j", Disk: base(t, nil), SSH: freeAddr(t), Metadata: metadata("i2", line, base64.StdEncoding.EncodeToString([]byte(broken)))}
	m = power(t, &Fast{}, spec)
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(string(m.Console()), "no hostkeys available"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the console has %s", m.Console())
		}
	}
	if text := string(m.Console()); !strings.Contains(text, "error loading host key") {
		t.Errorf("the console has %s", text)
	}
	if _, err := net.Dial("tcp", spec.SSH); err == nil {
		t.Error("it listens")
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOtherHostKey: a machine can show a key that is not the one it was given.
func TestOtherHostKey(t *testing.T) {
	private, public := hostKey(t)
	data, err := json.Marshal(map[string]any{"ssh_keys": map[string]string{"ed25519_private": private}})
	if err != nil {
		t.Fatal(err)
	}
	signer, line := key(t)
	spec := Spec{ID: "i", Disk: base(t, nil), SSH: freeAddr(t),
		Metadata: metadata("i1", line, base64.StdEncoding.EncodeToString(append([]byte("#cloud-config\n"), data...)))}
	m := power(t, &Fast{Behave: func(Spec) Behaviour { return Behaviour{OtherHostKey: true} }}, spec)
	if got := shown(t, spec.SSH, signer); got == public {
		t.Error("it shows its own key")
	}
	if lines := printed(m.Console()); len(lines) != 1 || !strings.HasPrefix(lines[0], public) {
		t.Errorf("the console has %q", lines)
	}
}

func TestCloudConfig(t *testing.T) {
	for _, tc := range []struct {
		text string
		want map[string]any
	}{
		{"#cloud-config\n", map[string]any{}},
		{"#cloud-config\n{\"a\": {\"b\": [1]}}", map[string]any{"a": map[string]any{"b": []any{1.0}}}},
		{"#cloud-config\n---\na: b # c\n\"d\": no\ne: 'it''s'\nf: \"x\\ny\"\ng:\nh: ~\n", map[string]any{"a": "b", "d": false, "e": "it's", "f": "x\ny", "g": nil, "h": nil}},
		{"a:\n  b:\n    c: true\n  d: e\nf: g\n", map[string]any{"a": map[string]any{"b": map[string]any{"c": true}, "d": "e"}, "f": "g"}},
		{"a:\n- b\n- c: d\n  e: f\ng:\n  - h\n  -  \ni: j\n", map[string]any{"a": []any{"b", "c: d"}, "g": []any{"h", nil}, "i": "j"}},
		{"a: |\n  b\n\n    c\n  d\n\ne: |-\n  f\ng: >\n  h\n  i\n", map[string]any{"a": "b\n\n  c\nd\n", "e": "f", "g": "h i"}},
		{"a: {\"b\": 1}\nc: [x, y]\nd: {e: f}\n", map[string]any{"a": map[string]any{"b": 1.0}, "c": "[x, y]", "d": "{e: f}"}},
		{"hello\n", nil}, {"a: b\n   c: d\n", nil}, {"{\"a\"", nil}, {"a: \"b\n", nil}, {"a:b\n", nil},
	} {
		got, err := parseCloudConfig(tc.text)
		if (err != nil) != (tc.want == nil) || (tc.want != nil && !reflect.DeepEqual(got, tc.want)) {
			t.Errorf("%q: got %#v, %v, want %#v", tc.text, got, err, tc.want)
		}
	}
}
