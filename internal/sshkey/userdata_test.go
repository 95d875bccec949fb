// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
)

// read takes user data apart, as cloud-init does: the type of each part, and how it
// begins.
func read(t *testing.T, data []byte) (parts []string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		text, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		parts = append(parts, kind+" "+first)
	}
}

func TestMix(t *testing.T) {
	key, boot := Authorize("ssh-ed25519 AAAA comment\n"), Part("#cloud-boothook\n#!/bin/sh\n")
	if got, err := Mix(nil, key); err != nil || string(got) != string(key) || !strings.Contains(string(got), "  - ssh-ed25519 AAAA comment\n") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Mix([]byte("whatever it is")); err != nil || string(got) != "whatever it is" {
		t.Errorf("%q, %v", got, err)
	}
	for user, first := range map[string]string{
		"": "", "#!/bin/sh\necho\n": "text/x-shellscript #!/bin/sh", "#cloud-config\na: b\n": "text/cloud-config #cloud-config", "#include\nhttps://x\n": "text/x-include-url #include",
		"#include https://x\n": "text/x-include-url #include https://x", "#include-once\r\nhttps://x\n": "text/x-include-once-url #include-once\r", "#cloud-config": "text/cloud-config #cloud-config",
		"#cloud-config-archive\n- content: x\n": "text/cloud-config-archive #cloud-config-archive", "#cloud-config-jsonp\n[]\n": "text/cloud-config-jsonp #cloud-config-jsonp",
		"Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n": "multipart/mixed --b",
	} {
		got, err := Mix([]byte(user), key, boot)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"text/cloud-config #cloud-config", "text/cloud-boothook #cloud-boothook"}
		if first != "" {
			want = append([]string{first}, want...)
		}
		if parts := read(t, got); strings.Join(parts, "; ") != strings.Join(want, "; ") {
			t.Errorf("%q: got %q", user, parts)
		}
	}
	for _, user := range []string{"{}", "\x1f\x8b...", "<powershell>", "## template: jinja\n#cloud-config\n", "#cloud-configs\n", "#included\n", "#cloud-boothooks\n"} {
		if _, err := Mix([]byte(user), key); err == nil || Mixes([]byte(user)) {
			t.Errorf("%q is mixed", user)
		}
	}
}
