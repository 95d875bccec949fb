// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// cloudInit does what cloud-init would with the cloud's metadata. It returns
// the keys that may log in, and those that the machine identifies itself with.
func (m *fastMachine) cloudInit() ([]ssh.PublicKey, []ssh.Signer) {
	md, err := fetchMetadata(m.ctx, m.spec)
	if err != nil {
		m.logf("cloud-init: no metadata: %v", err)
		return nil, m.hostKeys()
	}
	if md.hostname != "" {
		m.mu.Lock()
		m.name = md.hostname
		m.mu.Unlock()
	}
	md.keys = strings.TrimLeft(strings.TrimSpace(md.keys)+"\n"+authorizedKeys(md.userData), "\n")
	var keys []ssh.PublicKey
	for rest := []byte(md.keys); len(bytes.TrimSpace(rest)) > 0; {
		key, _, _, next, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break
		}
		keys, rest = append(keys, key), next
	}
	m.logf("cloud-init: %d authorized keys", len(keys))
	if err := m.installKeys(md.keys); err != nil {
		m.logf("cloud-init: %v", err)
	}
	if m.isNewInstance(md.id) {
		m.firstBoot(md)
	}
	return keys, m.hostKeys()
}

// authorizedKeys are those that user data brings along.
func authorizedKeys(text string) string {
	data, err := readUserData(text)
	if err != nil {
		return "" // firstBoot says so
	}
	var keys strings.Builder
	list, _ := data.config["ssh_authorized_keys"].([]any)
	for _, key := range list {
		if line, is := key.(string); is {
			keys.WriteString(line + "\n")
		}
	}
	return keys.String()
}

// firstBoot is what happens once in an instance's life: it gets host keys, its
// own or those of the user data, says them on its console, and runs the user
// data's scripts. The user data stays on the disk, as it does on a real one.
func (m *fastMachine) firstBoot(md instanceMetadata) {
	data, err := readUserData(md.userData)
	if err != nil {
		m.logf("cloud-init: user data: %v", err)
	}
	if md.userData != "" {
		if err := m.keepUserData(md); err != nil {
			m.logf("cloud-init: %v", err)
		}
	}
	if err := m.makeHostKeys(data.config); err != nil {
		m.logf("cloud-init: host keys: %v", err)
	}
	m.sayHostKeys(data.config)
	for _, script := range data.scripts {
		m.runScript(script)
	}
}

// keepUserData writes the user data where cloud-init does.
func (m *fastMachine) keepUserData(md instanceMetadata) error {
	dir := "/var/lib/cloud/instances/" + strings.ReplaceAll(md.id, "/", "_")
	if err := m.tree.mkdirAll(dir, 0o755, 0); err != nil {
		return err
	}
	_ = m.tree.remove("/var/lib/cloud/instance", 0) // of the instance that this disk was before, if any
	if err := m.tree.symlink(dir, "/var/lib/cloud/instance", 0); err != nil {
		return err
	}
	return m.tree.writeFile(dir+"/user-data.txt", []byte(md.userData), 0o600, 0)
}

func (m *fastMachine) runScript(script string) {
	var out bytes.Buffer
	root := accountByUID(0)
	p := &Process{Args: []string{"sh", "/var/lib/cloud/user-data"}, Env: baseEnv(root), Dir: "/", Stdin: strings.NewReader(""),
		Stdout: &out, Stderr: &out, m: m, umask: 0o022}
	if err := p.WriteFile(p.Args[1], []byte(script), 0o700); err != nil {
		m.logf("cloud-init: %v", err)
		return
	}
	m.logf("cloud-init: user data ended with status %d\n%s", p.child("/var/lib/cloud/user-data").run(m.ctx), out.String())
}

// installKeys adds the keys where sshd of a real machine would look, so that a
// capture that ought to clean them up can be seen to. As with cloud-init, keys
// that the image holds already stay.
func (m *fastMachine) installKeys(keys string) error {
	for _, a := range accounts() {
		if a.uid == 0 || keys == "" {
			continue
		}
		dir := a.home + "/.ssh"
		if err := m.tree.mkdirAll(dir, 0o700, a.uid); err != nil {
			return err
		}
		all := strings.TrimSpace(keys) + "\n"
		if old, err := m.tree.readFile(dir+"/authorized_keys", 0); err == nil {
			all = strings.TrimLeft(strings.TrimSpace(string(old))+"\n", "\n") + all
		}
		if err := m.tree.writeFile(dir+"/authorized_keys", []byte(all), 0o600, a.uid); err != nil {
			return err
		}
	}
	return nil
}

// isNewInstance says whether this disk boots as this instance for the first
// time, and remembers it.
func (m *fastMachine) isNewInstance(id string) bool {
	const mark = "/var/lib/cloud/instance-id"
	if old, err := m.tree.readFile(mark, 0); err == nil && strings.TrimSpace(string(old)) == id {
		return false
	}
	if err := m.tree.mkdirAll("/var/lib/cloud", 0o755, 0); err != nil {
		m.logf("cloud-init: %v", err)
		return false
	}
	if err := m.tree.writeFile(mark, fmt.Appendln(nil, id), 0o644, 0); err != nil {
		m.logf("cloud-init: %v", err)
		return false
	}
	return true
}
