// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sshhost is an SSH server whose machine is this one: commands run natively, in
// sessions of their own. It is for what has to be measured, or to be seen by programs of
// this computer, without a virtual machine.
package sshhost

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Host is the server. It lets one key in, whatever the user.
type Host struct {
	// Address is where it listens, on loopback.
	Address string
	// Key is the private key that is let in, in PEM.
	Key []byte
	// Ran, if it is set before the first connection, is told of each command that has
	// ended.
	Ran func(command string, state *os.ProcessState)
	// Begun, likewise, is told of each that has begun: its process leads a session.
	Begun func(command string, pid int)

	listener net.Listener
	env      []string
	mu       sync.Mutex
	commands []string
}

// Start starts a server whose commands have this environment, beside PATH.
func Start(env ...string) (*Host, error) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromSigner(hostKey)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	allowed, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return &ssh.Permissions{}, nil
	}}
	config.AddHostKey(signer)
	h := &Host{Key: pem.EncodeToMemory(block), env: env}
	if h.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	h.Address = h.listener.Addr().String()
	go func() {
		for {
			c, err := h.listener.Accept()
			if err != nil {
				return
			}
			go h.serve(c, config)
		}
	}()
	return h, nil
}

// Port is where it listens.
func (h *Host) Port() string { return strconv.Itoa(h.listener.Addr().(*net.TCPAddr).Port) }

// Commands are those that were run so far.
func (h *Host) Commands() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.commands...)
}

// Close lets nobody in any more.
func (h *Host) Close() error { return h.listener.Close() }

func (h *Host) serve(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		go h.session(channel, requests)
	}
}

func (h *Host) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		var payload struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &payload)
		switch {
		case r.Type == "exec":
			_ = r.Reply(true, nil)
			go h.run(channel, payload.Text)
		case r.Type == "subsystem" && payload.Text == "sftp":
			_ = r.Reply(true, nil)
			go func() {
				if s, err := sftp.NewServer(channel); err == nil {
					_ = s.Serve()
				}
				_ = channel.Close()
			}()
		default:
			_ = r.Reply(false, nil)
		}
	}
}

func (h *Host) run(channel ssh.Channel, command string) {
	defer channel.Close()
	h.mu.Lock()
	h.commands = append(h.commands, command)
	h.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", command) //nolint:gosec,noctx // what a server of SSH is for
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
				_ = in.Close()
				return
			}
		}
	}()
	status := struct{ Code uint32 }{}
	if err = cmd.Start(); err == nil {
		if h.Begun != nil {
			h.Begun(command, cmd.Process.Pid)
		}
		err = cmd.Wait()
	}
	if err != nil {
		status.Code = 255
		if cmd.ProcessState != nil {
			status.Code = uint32(cmd.ProcessState.ExitCode()) //nolint:gosec // as a shell has it
		}
	}
	if h.Ran != nil && cmd.ProcessState != nil {
		h.Ran(command, cmd.ProcessState)
	}
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(&status))
}
