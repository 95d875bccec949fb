// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// parts reads user data as cloud-init would: the kinds and texts of its parts,
// also of those within others.
func parts(t *testing.T, header func(string) string, body io.Reader) (list [][2]string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(header("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return [][2]string{{kind, string(text)}}
	}
	r := multipart.NewReader(body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, parts(t, p.Header.Get, p)...)
	}
}

func TestHostKeyInUserData(t *testing.T) {
	h, err := NewHostKey()
	if err != nil {
		t.Fatal(err)
	}
	alone, err := withKey(h, nil)
	if err != nil || !strings.HasPrefix(string(alone), "#cloud-config\n") || !strings.Contains(string(alone), "  ed25519_public: ssh-ed25519 ") {
		t.Errorf("%s, %v", alone, err)
	}
	const script = "#!/bin/sh\necho hi\n"
	first, err := withKey(h, []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, user string
		want       []string // kinds
	}{
		{"a script", script, []string{"text/x-shellscript"}},
		{"configuration", "#cloud-config\npackages: [a]\n", []string{"text/cloud-config"}},
		{"an address", "#include\nhttps://example.com\n", []string{"text/x-include-url"}},
		{"several parts", string(first), []string{"text/x-shellscript", "text/cloud-config"}},
	} {
		got, err := withKey(h, []byte(tt.user))
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(strings.NewReader(string(got)))
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		list := parts(t, m.Header.Get, m.Body)
		if len(list) != len(tt.want)+1 || list[len(list)-1] != [2]string{"text/cloud-config", string(alone)} {
			t.Errorf("%s: %q", tt.name, list)
			continue
		}
		for i, kind := range tt.want {
			if list[i][0] != kind || len(tt.want) == 1 && list[i][1] != tt.user {
				t.Errorf("%s: part %d is %q", tt.name, i, list[i])
			}
		}
	}
	if _, err := withKey(h, []byte("{\"ignition\": {}}")); err == nil || !strings.Contains(err.Error(), "ssh_pin_host_key") {
		t.Errorf("user data of another kind: %v", err)
	}
}

func TestPin(t *testing.T) {
	h, _ := NewHostKey()
	other, _ := NewHostKey()
	var c ssh.ClientConfig
	h.Pin(&c)
	if err := c.HostKeyCallback("host", &net.TCPAddr{}, h.public); err != nil {
		t.Error(err)
	}
	if err := c.HostKeyCallback("host", &net.TCPAddr{}, other.public); err == nil || !strings.Contains(err.Error(), "another host key") {
		t.Errorf("another key: %v", err)
	}
	if strings.Contains(h.cloudConfig(), "%!") || h.Secret() == "" {
		t.Error("no key")
	}
}

// withKey adds the key to user data.
func withKey(h HostKey, user []byte) ([]byte, error) {
	if err := CheckUserData(user); err != nil {
		return nil, err
	}
	return Mix(user, h.Part())
}
