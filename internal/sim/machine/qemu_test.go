// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestQEMUArguments(t *testing.T) {
	emulated := programs{qemu: "qemu", socat: "/usr/bin/socat", firmware: "/fw/QEMU_EFI.fd"}
	kvm := emulated
	kvm.kvm = true
	good := Spec{ID: "ocid1.instance.oc1..a", Disk: "/d/a,b.qcow2", Cloud: OCI, Firmware: UEFI64, CPUs: 4, MemoryMB: 24576, SSH: "127.80.0.3:22022"}
	with := func(change func(*Spec)) Spec {
		s := good
		change(&s)
		return s
	}
	forwards := map[string]string{metadataAddr: "127.0.0.1:1111", "169.254.169.253:80": "127.0.0.1:2222"}
	for _, tc := range []struct {
		name   string
		driver QEMU
		progs  programs
		spec   Spec
		want   []string // each a part of the command line
		not    []string
		err    string
	}{
		{"OCI hardware", QEMU{}, emulated, good, []string{
			"virtio-scsi-pci,id=scsi", "scsi-hd,bus=scsi.0,drive=boot,bootindex=0", "virtio-net-pci,netdev=net,romfile=,mac=02:00:17:",
			"type=3,asset=OracleCloud.com", "-bios /fw/QEMU_EFI.fd", "-accel tcg", "-cpu max,pauth=off,sve=off",
			"restrict=on", "hostfwd=tcp:127.80.0.3:22022-:22", "-smp 2", "-m 1024", "file=/d/a,,b.qcow2",
			"guestfwd=tcp:169.254.169.254:80-cmd:/usr/bin/socat -lf /dev/null - TCP4:127.0.0.1:1111",
			"guestfwd=tcp:169.254.169.253:80-cmd:/usr/bin/socat -lf /dev/null - TCP4:127.0.0.1:2222",
		}, []string{"nvme", "-kernel", "-loadvm", "kvm", "-S "}, ""},
		{"EC2 hardware", QEMU{}, emulated, with(func(s *Spec) { s.Cloud = EC2 }),
			[]string{"nvme,drive=boot", "manufacturer=Amazon EC2", "-uuid ec2"}, []string{"scsi", "OracleCloud"}, ""},
		{"KVM", QEMU{}, kvm, good, []string{"-accel kvm", "-cpu host", "gic-version=host"}, []string{"tcg"}, ""},
		{"a small shape", QEMU{}, emulated, with(func(s *Spec) { s.CPUs, s.MemoryMB = 1, 512 }), []string{"-smp 1", "-m 512"}, nil, ""},
		{"bounds", QEMU{MaxCPUs: 1, MaxMemoryMB: 768}, emulated, good, []string{"-smp 1", "-m 768"}, nil, ""},
		{"BIOS never starts", QEMU{}, emulated, with(func(s *Spec) { s.Firmware = BIOS }), []string{"-S "}, []string{"-bios"}, ""},
		{"unknown firmware", QEMU{}, emulated, with(func(s *Spec) { s.Firmware = "" }), nil, nil, "firmware"},
		{"unknown cloud", QEMU{}, emulated, with(func(s *Spec) { s.Cloud = "gcp" }), nil, nil, "cloud"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args, err := tc.driver.args(tc.progs, tc.spec, forwards)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one about %s", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ") + " "
			for _, w := range tc.want {
				if !strings.Contains(line, w) {
					t.Errorf("lacks %q:\n%s", w, line)
				}
			}
			for _, n := range tc.not {
				if strings.Contains(line, n) {
					t.Errorf("has %q:\n%s", n, line)
				}
			}
			again, err := tc.driver.args(tc.progs, tc.spec, forwards)
			if err != nil || !slices.Equal(args, again) {
				t.Error("the same machine started twice differs")
			}
		})
	}
}

func TestServiceAddresses(t *testing.T) {
	for addr, ok := range map[string]bool{
		"169.254.169.253:80": true, "169.254.169.254:8080": true,
		metadataAddr: false, "10.0.2.2:80": false, "169.254.1.1": false, "host:80": false, "[fe80::1]:80": false,
	} {
		if err := checkGuestAddr(addr); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestRelay(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { // answers once the client has said all it has to say
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				data, _ := io.ReadAll(c)
				fmt.Fprintf(c, "got %d", len(data))
			}()
		}
	}()
	r, err := newRelay(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Write(make([]byte, 100_000))
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "got 100000" {
		t.Errorf("%q, %v", got, err)
	}
	c.Close()

	open, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	open.Write([]byte("x"))
	r.close() // waits for its goroutines: returning at all is the proof
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its relay")
	}
	if _, err := net.Dial("tcp", r.addr()); err == nil {
		t.Error("the relay still listens")
	}
}

// fakeQEMU plays QEMU's side of the control connection: it greets, and answers
// each command with what answers says.
func fakeQEMU(t *testing.T, greeting string, answers map[string]string) *qmp {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		fmt.Fprintln(theirs, greeting)
		in := bufio.NewScanner(theirs)
		for in.Scan() {
			answer, ok := answers[in.Text()]
			if !ok {
				answer = `{"error": {"class": "CommandNotFound", "desc": "what?"}}`
			}
			if _, err := fmt.Fprintln(theirs, answer); err != nil {
				return
			}
		}
	}()
	return newQMP(ours)
}

func TestQMP(t *testing.T) {
	const hello = `{"QMP": {"version": {}}}`
	const ready = `{"execute":"qmp_capabilities"}`
	ctx := t.Context()
	q := fakeQEMU(t, hello, map[string]string{
		ready:                            `{"return": {}}`,
		`{"execute":"system_powerdown"}`: `{"event": "POWERDOWN"}` + "\n" + `{"return": {}}`,
		`{"execute":"hang"}`:             `{"event": "NOTHING"}`,
		`{"execute":"human-monitor-command","arguments":{"command-line":"savevm x"}}`: `{"event": "STOP"}` + "\n" + `{"return": ""}`,
		`{"execute":"human-monitor-command","arguments":{"command-line":"loadvm y"}}`: `{"return": "Error: there is no y"}`,
	})
	if err := q.greet(ctx); err != nil {
		t.Fatal(err)
	}
	if err := q.execute(ctx, "system_powerdown"); err != nil {
		t.Error(err)
	}
	if err := q.execute(ctx, "nosuch"); err == nil || !strings.Contains(err.Error(), "what?") {
		t.Errorf("got %v", err)
	}
	if err := q.monitor(ctx, "savevm x"); err != nil {
		t.Error(err)
	}
	if err := q.monitor(ctx, "loadvm y"); err == nil || !strings.Contains(err.Error(), "there is no y") {
		t.Errorf("got %v", err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := q.execute(short, "hang"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := fakeQEMU(t, `{"event": "X"}`, nil).greet(ctx); err == nil {
		t.Error("no greeting is none")
	}
	if err := fakeQEMU(t, "garbage", nil).greet(ctx); err == nil {
		t.Error("garbage was understood")
	}
}

func TestQEMUNeedsItsParts(t *testing.T) {
	if err := (&QEMU{}).Check(); err != nil {
		t.Skip(err)
	}
	_, err := (&QEMU{}).Start(t.Context(), Spec{ID: "x", Cloud: OCI, Firmware: UEFI64, CPUs: 1})
	if err == nil {
		t.Error("a machine without a disk started")
	}
	spec := Spec{ID: "x", Cloud: OCI, Firmware: UEFI64, CPUs: 1, Metadata: http.NotFoundHandler(), SSH: freeAddr(t), Disk: "/nonexistent/disk"}
	if _, err := (&QEMU{}).Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "/nonexistent/disk") {
		t.Errorf("a missing disk: %v", err)
	}
	spec.Disk = base(t, nil)
	l, err := net.Listen("tcp", spec.SSH)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := (&QEMU{}).Start(t.Context(), spec); err == nil {
		t.Error("two listen at one address")
	}
	// One whose processor stands still goes back to how it was.
	spec.Firmware, spec.SSH = BIOS, freeAddr(t)
	m, err := (&QEMU{MaxMemoryMB: 256}).Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	k := m.(Keeper)
	if err := k.Restore(t.Context()); err == nil {
		t.Error("it went back to what was not kept")
	}
	for _, do := range []func(context.Context) error{k.Save, k.Restore, k.Restore} {
		if err := do(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
