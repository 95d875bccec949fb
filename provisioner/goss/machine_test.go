// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/rpc"
	sshcomm "github.com/hashicorp/packer-plugin-sdk/sdk-internals/communicator/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// These tests go through Packer's own SSH communicator to a simulated ARM64
// machine. When that machine executes the ELF file that was uploaded, the test
// takes goss's place.

// arm64ELF is the smallest file that says it is an executable for AArch64.
func arm64ELF(t testing.TB) string {
	t.Helper()
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[20] = 2, 183, 1       // executable, AArch64, version
	b[52], b[54], b[58] = 64, 56, 64      // sizes of the headers
	b = append(b, make([]byte, 1<<20)...) // large enough to be sent in pieces
	name := filepath.Join(t.TempDir(), "goss")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// startMachine starts a simulated machine and returns where it listens and the
// key that it accepts.
func startMachine(t testing.TB, driver *machine.Fast) (string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	keys := string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	m, err := driver.Start(t.Context(), machine.Spec{
		ID: "ocid1.instance.test", Disk: disk, Cloud: machine.OCI, Firmware: machine.UEFI64, CPUs: 1, MemoryMB: 1024, SSH: addr,
		Metadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"id": "ocid1.instance.test", "hostname": "build",
				"metadata": map[string]string{"ssh_authorized_keys": keys}})
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Kill() })
	return addr, signer
}

// connect logs in with Packer's communicator.
func connect(t testing.TB, addr string, key ssh.Signer, sftp bool) packersdk.Communicator {
	t.Helper()
	var dialer net.Dialer
	config := &sshcomm.Config{
		SSHConfig: &ssh.ClientConfig{User: "debian", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()},
		UseSftp:   sftp, DisableAgentForwarding: true, KeepAliveInterval: -1,
		Connection: func() (net.Conn, error) { return dialer.DialContext(t.Context(), "tcp", addr) },
	}
	for {
		comm, err := sshcomm.New(addr, config)
		if err == nil {
			return comm
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // the machine is still starting
	}
}

// behindRPC puts a communicator where a plugin finds it: in another process.
func behindRPC(t testing.TB, comm packersdk.Communicator) packersdk.Communicator {
	t.Helper()
	ours, theirs := net.Pipe()
	server, err := rpc.NewServer(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.RegisterCommunicator(comm); err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	client, err := rpc.NewClient(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client.Communicator()
}

// folders shows the places where something of ours could be left.
func folders(t testing.TB, comm packersdk.Communicator) string {
	t.Helper()
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: "for d in /dev/shm /home/debian /tmp /var/tmp /root; do echo $d; sudo ls -a $d; done", Stdout: &out}
	if err := comm.Start(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if code := cmd.Wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return out.String()
}

func TestProvisionOverSSH(t *testing.T) {
	recording := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pass, mixed := recording("pass.json"), recording("mixed.json")
	// The machine's goss: says where it runs and what it was given, and obeys
	// the gossfile.
	type start struct {
		path, args, inline string
		uid                int
	}
	driver := func(starts *[]start, noexec ...string) *machine.Fast {
		return &machine.Fast{NoExec: noexec, ELF: func(_ context.Context, p *machine.Process) int {
			*starts = append(*starts, start{p.Path(p.Args[0]), strings.Join(p.Args[1:], " "), p.Getenv("GOSS_VARS_INLINE"), p.UID})
			orders, err := p.ReadFile("checks/goss.yaml")
			if err != nil {
				fmt.Fprintln(p.Stderr, err)
				return 78
			}
			switch _, order, _ := strings.Cut(strings.TrimSpace(string(orders)), "# "); order {
			case "pass":
				p.Stdout.Write(pass)
				return 0
			case "fail":
				p.Stdout.Write(mixed)
				return 1
			}
			return 0
		}}
	}
	tests := []struct {
		name, orders string
		noexec       []string
		sftp, rpc    bool
		where        string // under which goss ran
		says         string
	}{
		{name: "pass", orders: "pass", where: "/dev/shm/"},
		{name: "pass by SFTP", orders: "pass", sftp: true, where: "/dev/shm/"},
		{name: "pass from the plugin's process", orders: "pass", rpc: true, where: "/dev/shm/"},
		{name: "pass without a folder in memory", orders: "pass", noexec: []string{"/dev/shm"}, where: "/home/debian/"},
		{name: "nowhere to run", orders: "pass", noexec: []string{"/dev/shm", "/home", "/tmp", "/var/tmp"}, says: "/dev/shm does not let programs run (it is mounted noexec), /home/debian does not"},
		{name: "fail", orders: "fail", where: "/dev/shm/", says: "6 of 13 goss tests failed"},
		{name: "fail from the plugin's process", orders: "fail", rpc: true, where: "/dev/shm/", says: "6 of 13 goss tests failed"},
		{name: "no result", orders: "nothing", where: "/dev/shm/", says: "goss printed no result"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var starts []start
			addr, key := startMachine(t, driver(&starts, tt.noexec...))
			comm := connect(t, addr, key, tt.sftp)
			before := folders(t, comm)
			used := comm
			if tt.rpc {
				used = behindRPC(t, comm)
			}
			var p Provisioner
			tests := tree(t, map[string]string{"checks/goss.yaml": ordered(tt.orders)})
			if err := p.Prepare(map[string]any{"tests": []string{filepath.Join(tests, "checks")}, "goss_binary": arm64ELF(t),
				"vars_inline": map[string]string{"port": "22"}}); err != nil {
				t.Fatal(err)
			}
			ui := newScreen()
			err := p.Provision(t.Context(), ui, used, nil)
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("failed: %v\n%s", err, ui.text())
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got error %v\nwant the words %q", err, tt.says)
			}
			if tt.where == "" && len(starts) != 0 {
				t.Errorf("goss ran: %+v", starts)
			}
			if tt.where != "" {
				want := start{inline: `{"port":"22"}`, uid: 0,
					args: "--log-level WARN --gossfile ./checks/goss.yaml validate --format json --format-options sort --no-color"}
				if len(starts) == 1 {
					want.path = starts[0].path
				}
				if len(starts) != 1 || starts[0] != want || !strings.HasPrefix(want.path, tt.where+"armfree-goss.") {
					t.Errorf("goss ran as %+v\nwant %+v under %s", starts, want, tt.where)
				}
			}
			if after := folders(t, comm); after != before {
				t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestProvisionOverSSHIsCancelled(t *testing.T) {
	for _, viaRPC := range []bool{false, true} {
		t.Run("rpc="+strconv.FormatBool(viaRPC), func(t *testing.T) {
			running := make(chan struct{})
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			addr, key := startMachine(t, &machine.Fast{ELF: func(ctx context.Context, p *machine.Process) int {
				close(running)
				select {
				case <-ctx.Done():
				case <-release:
				}
				return 143
			}})
			comm := connect(t, addr, key, false)
			before := folders(t, comm)
			used := comm
			if viaRPC {
				used = behindRPC(t, comm)
			}
			// The machine's goss does not end, so that it is waited for in vain.
			p := Provisioner{within: limits{patient.remove, 200 * time.Millisecond}}
			tests := tree(t, map[string]string{"goss.yaml": gossfileText})
			if err := p.Prepare(map[string]any{"goss_file": filepath.Join(tests, "goss.yaml"), "goss_binary": arm64ELF(t)}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				<-running
				cancel()
			}()
			if err := p.Provision(ctx, newScreen(), used, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v", err)
			}
			if after := folders(t, comm); after != before {
				t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
