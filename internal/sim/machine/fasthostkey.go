// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyTypes are the kinds of host keys that cloud-init and sshd know here.
func keyTypes() []string { return []string{"ecdsa", "ed25519", "rsa"} }

func keyFile(kind string) string { return "/etc/ssh/ssh_host_" + kind + "_key" }

// makeHostKeys gives a new instance its identity, as cloud-init's ssh module
// does: keys that the image holds go, those of ssh_keys in the configuration
// are taken, and only without any a key is made.
func (m *fastMachine) makeHostKeys(config map[string]any) error {
	if remove, said := config["ssh_deletekeys"].(bool); !said || remove {
		for _, kind := range keyTypes() {
			for _, name := range []string{keyFile(kind), keyFile(kind) + ".pub"} {
				if err := m.tree.remove(name, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	given, has := config["ssh_keys"].(map[string]any)
	if !has {
		if config["ssh_keys"] != nil {
			m.logf("cloud-init: ssh_keys is not a map")
		}
		if _, err := m.tree.stat(keyFile("ed25519"), true, 0); err == nil {
			return nil
		}
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("make a host key: %w", err)
		}
		block, err := ssh.MarshalPrivateKey(private, m.keyComment())
		if err != nil {
			return fmt.Errorf("make a host key: %w", err)
		}
		given = map[string]any{"ed25519_private": string(pem.EncodeToMemory(block))}
	}
	for _, kind := range keyTypes() {
		private, _ := given[kind+"_private"].(string)
		public, _ := given[kind+"_public"].(string)
		if public == "" && private != "" {
			signer, err := ssh.ParsePrivateKey([]byte(private))
			if err != nil {
				return fmt.Errorf("make %s.pub: %w", keyFile(kind), err)
			}
			public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + m.keyComment() + "\n"
		}
		for _, file := range []struct {
			name, data string
			perm       fs.FileMode
		}{{keyFile(kind), private, 0o600}, {keyFile(kind) + ".pub", public, 0o644}} {
			if file.data == "" {
				continue
			}
			if err := m.tree.writeFile(file.name, []byte(file.data), file.perm, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *fastMachine) keyComment() string { return "root@" + m.hostname() }

// sayHostKeys prints the public keys on the console, in the form of
// cloud-init's write-ssh-key-fingerprints: the fingerprints by way of logger,
// the keys as they are. "ssh: {emit_keys_to_console: false}" keeps it silent.
func (m *fastMachine) sayHostKeys(config map[string]any) {
	if options, ok := config["ssh"].(map[string]any); ok && options["emit_keys_to_console"] == false {
		return
	}
	log := "<14>" + time.Now().UTC().Format(time.Stamp) + " cloud-init: "
	var prints, lines []string
	for _, kind := range keyTypes() {
		data, err := m.tree.readFile(keyFile(kind)+".pub", 0)
		if err != nil {
			continue
		}
		key, comment, _, _, err := ssh.ParseAuthorizedKey(data)
		if err != nil {
			m.logf("cloud-init: %s.pub is not a public key file.", keyFile(kind))
			continue
		}
		if comment == "" {
			comment = "no comment"
		}
		bits := map[string]int{"ecdsa": 256, "ed25519": 256, "rsa": 3072}[kind]
		prints = append(prints, fmt.Sprintf("%s%d %s %s (%s)", log, bits, ssh.FingerprintSHA256(key), comment, strings.ToUpper(kind)))
		lines = append(lines, strings.TrimSpace(string(data)))
	}
	if len(lines) == 0 {
		return
	}
	const rule = "#############################################################"
	m.logf("%s%s\n%s-----BEGIN SSH HOST KEY FINGERPRINTS-----\n%s\n%s-----END SSH HOST KEY FINGERPRINTS-----\n%s%s\n"+
		"-----BEGIN SSH HOST KEY KEYS-----\n%s\n-----END SSH HOST KEY KEYS-----",
		log, rule, log, strings.Join(prints, "\n"), log, log, rule, strings.Join(lines, "\n"))
}

// hostKeys are the keys that sshd finds. A key that cannot be read is none, as
// with sshd; a machine from whose disk all of them were removed, which would
// not come up again at Oracle's, gets one for as long as it has power.
func (m *fastMachine) hostKeys() []ssh.Signer {
	var found []ssh.Signer
	any := false
	for _, kind := range keyTypes() {
		data, err := m.tree.readFile(keyFile(kind), 0)
		if err != nil {
			continue
		}
		any = true
		signer, err := ssh.ParsePrivateKey(data)
		if err != nil {
			m.logf("sshd: error loading host key %q: %v", keyFile(kind), err)
			continue
		}
		found = append(found, signer)
	}
	if any && !m.behaviour.OtherHostKey {
		return found
	}
	if !any {
		m.logf("sshd: no host key on the disk, making one")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		m.logf("sshd: %v", err)
		return nil
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		m.logf("sshd: %v", err)
		return nil
	}
	return []ssh.Signer{signer}
}
