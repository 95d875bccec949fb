// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// closedPort is a port of this host on which nobody listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Packer's SDK says "Timeout waiting for SSH." whatever is wrong: what is wrong is
// said as well.
func TestWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	const password = "correct horse"
	private, _ := newSSHKey(t, "")
	bastion := func(more options) options {
		o := options{"ssh_bastion_host": "127.0.0.1", "ssh_bastion_username": "jump", "ssh_bastion_password": "x"}
		maps.Copy(o, more)
		return o
	}
	for _, tt := range []struct {
		name    string
		set     options
		machine machine.Behaviour
		says    []string
		silent  string
	}{
		{name: "nobody there", machine: machine.Behaviour{Dead: true}, says: []string{"timed out after 2s waiting for SSH at ", "connection refused", `the limit is the option "ssh_timeout"`}},
		{name: "says nothing", machine: machine.Behaviour{Hang: true}, says: []string{"takes the connection and says nothing"}},
		{name: "a wrong user", set: options{"ssh_username": "stranger"}, says: []string{`does not let the user "stranger" in with this key or password`}},
		{name: "a wrong key", set: options{"ssh_private_key": private}, machine: machine.Behaviour{RefuseKeys: true}, says: []string{`does not let the user "debian" in`}},
		{name: "a wrong password", set: options{"ssh_password": "guess"}, machine: machine.Behaviour{Password: password}, says: []string{`does not let the user "debian" in`}, silent: "guess"},
		{
			name: "a wrong password, often enough", set: options{"ssh_password": "guess", "ssh_handshake_attempts": 1, "ssh_timeout": "30s"}, machine: machine.Behaviour{Password: password},
			says: []string{"authentication error"}, silent: "ssh_timeout",
		},
		{name: "another host key", set: options{"ssh_pin_host_key": true}, machine: machine.Behaviour{OtherHostKey: true}, says: []string{"has another host key than the one it was given"}},
		{name: "a dead bastion", set: bastion(options{"ssh_bastion_port": closedPort(t)}), says: []string{"the bastion does not answer (ssh_bastion_host)", "connection refused"}},
		{name: "a dead proxy", set: options{"ssh_proxy_host": "127.0.0.1", "ssh_proxy_port": closedPort(t)}, says: []string{"through the proxy 127.0.0.1:", "(ssh_proxy_host)", "connection refused"}},
		{
			name: "WinRM", set: options{"communicator": "winrm", "winrm_username": "opc", "winrm_password": "x", "winrm_timeout": "2s"}, machine: machine.Behaviour{Dead: true},
			says: []string{`the limit is the option "winrm_timeout"`}, silent: "ssh_timeout",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Driver: &machine.Fast{Behave: func(machine.Spec) machine.Behaviour { return tt.machine }}})
			set := map[string]interface{}{"ssh_timeout": "2s"}
			maps.Copy(set, tt.set)
			_, said, err := build(t.Context(), t, s, set, nil)
			if err == nil {
				t.Fatalf("connected\n%s", said)
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said: %v", want, err)
				}
			}
			if tt.silent != "" && strings.Contains(err.Error(), tt.silent) {
				t.Errorf("%q is said: %v", tt.silent, err)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// heard is output that tells when a line was begun for which somebody waits.
type heard struct {
	inpacker.Output
	line string
	tell func()
}

func (h *heard) Write(p []byte) (int, error) {
	if strings.Contains(string(p), h.line) {
		h.tell()
	}
	return h.Output.Write(p)
}

// A machine that listens late is noticed soon, and not when Packer's SDK looks
// again, five seconds after it looked first: that begins when it listens.
func TestConnectionIsNoticedSoon(t *testing.T) {
	t.Parallel()
	var listens, early atomic.Bool
	s := stage.ForTest(t, stage.Options{Driver: &machine.Fast{
		Behave: func(machine.Spec) machine.Behaviour { return machine.Behaviour{BootDelay: time.Second} },
		Watch: func(e machine.Event) {
			if e.What == machine.EventListens {
				listens.Store(true)
			}
		},
	}})
	in := settings(s)
	in["skip_create_image"] = true
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	out := &heard{line: "Using SSH communicator", tell: func() { early.Store(!listens.Load()) }}
	_, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: out, ErrorWriter: out}, inpacker.Hook(nothing))
	if err != nil || early.Load() || !listens.Load() {
		t.Errorf("early: %t, %v\n%s", early.Load(), err, out.String())
	}
	if got := b.config.Comm.SSHTimeout; got != 30*time.Second {
		t.Errorf("ssh_timeout is %s afterwards", got)
	}
}

// A provisioner may give the keys of the user that it works as to others: the
// build's own goes from there, too. What cannot be looked into is said.
func TestTemporaryKeyOfOtherUsers(t *testing.T) {
	t.Parallel()
	noSudo := false
	s := stage.ForTest(t, stage.Options{Driver: &machine.Fast{Behave: func(machine.Spec) machine.Behaviour { return machine.Behaviour{NoSudo: noSudo} }}})
	run := func(comm packersdk.Communicator, script string) (string, error) {
		var out bytes.Buffer // of one stream: both are copied at the same time
		cmd := &packersdk.RemoteCmd{Command: script, Stdout: &out}
		if err := comm.Start(t.Context(), cmd); err != nil {
			return "", err
		}
		cmd.Wait()
		return out.String(), nil
	}
	const theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzfSWZvo1iVNk3Y1pUM4LTbmZ2Kxl8rU5rXyoYlN6xv somebody else"
	a, said, err := build(t.Context(), t, s, nil, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		out, err := run(comm, `for h in /home/ec2-user /srv/service; do sudo mkdir -p $h/.ssh
sudo cp /home/debian/.ssh/authorized_keys $h/.ssh/; echo '`+theirs+`' | sudo tee -a $h/.ssh/authorized_keys; sudo chmod 700 $h $h/.ssh; done
echo service:x:2000:2000::/srv/service:/bin/sh | sudo tee -a /etc/passwd`)
		t.Log(out)
		return err
	})
	if err != nil || strings.Contains(said, "could not be") {
		t.Fatalf("%v\n%s", err, said)
	}
	_, said, err = build(t.Context(), t, s, map[string]interface{}{"base_image_ocid": a.Id(), "skip_create_image": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		for _, home := range []string{"/home/ec2-user", "/srv/service"} {
			got, err := run(comm, "sudo cat "+home+"/.ssh/authorized_keys")
			if err != nil || strings.Contains(got, " packer-plugin-armfree") || !strings.Contains(got, theirs) {
				t.Errorf("%s has %q, %v", home, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	noSudo = true
	_, said, err = build(t.Context(), t, s, map[string]interface{}{"base_image_ocid": a.Id(), "skip_create_image": true}, func(_ context.Context, _ packersdk.Ui, _ packersdk.Communicator) error { return nil })
	if err != nil || !strings.Contains(said, "could not be found out, or changed, without sudo: ") || !strings.Contains(said, "/home/ec2-user") || !strings.Contains(said, "/srv/service") {
		t.Errorf("%v\n%s", err, said)
	}
}
