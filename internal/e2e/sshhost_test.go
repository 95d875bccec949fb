// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// sshHost is an SSH server whose machine is this one: commands run natively, in
// sessions of their own and in the environment that they are given.
type sshHost struct {
	port, key string
	env       []string

	mu       sync.Mutex
	commands []string
}

func newSSHHost(t *testing.T, env ...string) *sshHost {
	t.Helper()
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	h := &sshHost{env: env, key: filepath.Join(t.TempDir(), "key")}
	if err := os.WriteFile(h.key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h.port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c, config)
		}
	}()
	return h
}

func (h *sshHost) serve(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		if n.ChannelType() != "session" {
			n.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		go h.session(channel, requests)
	}
}

func (h *sshHost) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		var payload struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &payload)
		switch {
		case r.Type == "exec":
			r.Reply(true, nil)
			go h.run(channel, payload.Text)
		case r.Type == "subsystem" && payload.Text == "sftp":
			r.Reply(true, nil)
			go func() {
				if s, err := sftp.NewServer(channel); err == nil {
					_ = s.Serve()
				}
				channel.Close()
			}()
		default:
			r.Reply(false, nil)
		}
	}
}

func (h *sshHost) run(channel ssh.Channel, command string) {
	defer channel.Close()
	h.mu.Lock()
	h.commands = append(h.commands, command)
	h.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, h.env...)
	cmd.Dir = "/"
	asSession(cmd)
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := channel.Read(b)
			if _, werr := in.Write(b[:n]); err != nil || werr != nil {
				in.Close()
				return
			}
		}
	}()
	status := struct{ Code uint32 }{}
	if err := cmd.Run(); err != nil {
		status.Code = 255
		if cmd.ProcessState != nil {
			status.Code = uint32(cmd.ProcessState.ExitCode())
		}
	}
	channel.SendRequest("exit-status", false, ssh.Marshal(&status))
}
