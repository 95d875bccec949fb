// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// guest is the cached image, or a reason to skip.
func guest(t *testing.T) (image, pool string) {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("an acceptance test: set PACKER_ACC=1")
	}
	dir := os.Getenv("ACC_GUEST")
	image, pool = filepath.Join(dir, "debian-12-arm64.qcow2"), filepath.Join(dir, "pool")
	if _, err := os.Stat(image); err != nil {
		t.Fatalf("no guest image: run \"make guest\" and set ACC_GUEST to its folder: %v", err)
	}
	if err := (&QEMU{}).Check(); err != nil {
		t.Fatal(err)
	}
	return image, pool
}

// overlay is a writable disk on top of an image.
func overlay(t *testing.T, image string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk)
	return disk
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

// connect tries until the guest lets s in, or has refused it by its sshd.
func connect(ctx context.Context, addr string, s ssh.Signer) (*ssh.Client, error) {
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.SetDeadline(time.Now().Add(time.Minute))
			var c ssh.Conn
			var chans <-chan ssh.NewChannel
			var reqs <-chan *ssh.Request
			if c, chans, reqs, err = ssh.NewClientConn(conn, addr, clientConfig("debian", s)); err == nil {
				conn.SetDeadline(time.Time{})
				return ssh.NewClient(c, chans, reqs), nil
			}
			conn.Close()
			if strings.Contains(err.Error(), "unable to authenticate") {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

type accGuest struct {
	t     *testing.T
	m     Machine
	c     *ssh.Client
	began time.Time
}

// stage reports how long a stage took.
func (g *accGuest) stage(name string) {
	g.t.Logf("%-32s %6.1f s", name, time.Since(g.began).Seconds())
	g.began = time.Now()
}

func bootGuest(t *testing.T, d *QEMU, disk, id, authorized string, s ssh.Signer) *accGuest {
	t.Helper()
	userData := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho ran >/run/user-data\n"))
	spec := Spec{ID: id, Disk: disk, Cloud: OCI, Firmware: UEFI64, CPUs: 1, MemoryMB: 1024, SSH: freeAddr(t),
		Metadata: OCIMetadata(InstanceInfo{ID: id, DisplayName: "acc-" + id, Hostname: "acc-" + id, Region: "eu-frankfurt-1",
			AvailabilityDomain: "aBcD:EU-FRANKFURT-1-AD-1",
			Shape:              "VM.Standard.A1.Flex", Metadata: map[string]string{"ssh_authorized_keys": authorized, "user_data": userData}})}
	g := &accGuest{t: t, began: time.Now()}
	m, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g.m = m
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			console := string(m.Console())
			t.Logf("console of %s, its end:\n%s", id, console[max(0, len(console)-6000):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if g.c, err = connect(ctx, spec.SSH, s); err != nil {
		t.Fatalf("log in to %s: %v", id, err)
	}
	g.stage("boot to SSH login, " + id)
	t.Cleanup(func() { g.c.Close() })
	return g
}

// do runs a command that must end well.
func (g *accGuest) do(command, stdin string) string {
	g.t.Helper()
	status, stdout, stderr := run(g.t, g.c, command, stdin)
	if status != 0 {
		g.t.Fatalf("%s: status %d\n%s\n%s", command, status, stdout, stderr)
	}
	return stdout
}

// TestAccGuest boots the distribution-real guest by UEFI, with a key and user data from
// the metadata service, on the hardware that an A1 gives, and cut off from all else. What
// the example does to such a guest, and what becomes of its image, the demo shows.
func TestAccGuest(t *testing.T) {
	image, pool := guest(t)
	packages := httptest.NewServer(http.FileServer(http.Dir(pool)))
	defer packages.Close()
	d := &QEMU{Services: map[string]string{"169.254.169.253:80": packages.Listener.Addr().String()}}
	disk := overlay(t, image)
	signer, line := key(t)
	g := bootGuest(t, d, disk, "one", line, signer)
	if got := g.do("uname -m; cat /sys/class/dmi/id/chassis_asset_tag; ls /sys/bus/scsi/drivers/sd | grep -c :", ""); got != "aarch64\nOracleCloud.com\n1\n" {
		t.Errorf("hardware: %q", got)
	}
	t.Run("the guest reaches its cloud and nothing else", func(t *testing.T) {
		g := &accGuest{t: t, c: g.c}
		if got := g.do("curl -sS -H 'Authorization: Bearer Oracle' http://169.254.169.254/opc/v2/instance/id", ""); got != "one" {
			t.Errorf("metadata: %q", got)
		}
		if got := g.do("curl -sS -o /dev/null -w '%{http_code}' http://169.254.169.253/", ""); got != "200" {
			t.Errorf("packages: %q", got)
		}
		outside := httptest.NewServer(http.NotFoundHandler())
		defer outside.Close()
		_, port, _ := net.SplitHostPort(outside.Listener.Addr().String())
		for _, to := range []string{"169.254.0.2:" + port, "169.254.0.2:22", "127.0.0.2:" + port, "192.0.2.1:80"} {
			if status, _, _ := run(t, g.c, "curl -sS -o /dev/null --connect-timeout 2 http://"+to+"/", ""); status == 0 {
				t.Errorf("the guest reached %s", to)
			}
		}
	})
	g.began = time.Now()
	g.do("timeout 600 systemctl is-system-running --wait || true", "")
	if got := g.do("systemctl --failed --no-legend --plain; cat /run/user-data; hostname", ""); got != "ran\nacc-one\n" {
		t.Errorf("after the boot: %q", got)
	}
	g.stage("rest of the boot")
	if err := g.m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.stage("power off")
	qemuImg(t, "check", "-q", disk)
}

// TestAccNoFirmware: an image that says BIOS never comes up, as on a real A1.
func TestAccNoFirmware(t *testing.T) {
	image, _ := guest(t)
	_, line := key(t)
	addr := freeAddr(t)
	m, err := (&QEMU{}).Start(t.Context(), Spec{ID: "bios", Disk: overlay(t, image), Cloud: OCI, Firmware: BIOS, CPUs: 1,
		SSH: addr, Metadata: metadata("bios", line, "")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("something answered")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	if err := m.Kill(); err != nil {
		t.Error("second Kill: ", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening after Kill")
	}
}

// TestAccDiesWithParent: however the process that started a machine ends,
// nothing of the machine is left.
func TestAccDiesWithParent(t *testing.T) {
	image, _ := guest(t)
	helper := exec.Command(os.Args[0], "-test.run=^TestHelperMachine$")
	helper.Env = append(os.Environ(), "HELPER_DISK="+overlay(t, image), "HELPER_SSH="+freeAddr(t))
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanf(out, "qemu %d\n", &pid)
	helper.Process.Kill()
	helper.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("qemu %d lives on", pid)
		}
	}
}

// TestHelperMachine is the process that TestAccDiesWithParent kills.
func TestHelperMachine(t *testing.T) {
	disk := os.Getenv("HELPER_DISK")
	if disk == "" {
		t.Skip("only for TestAccDiesWithParent")
	}
	m, err := (&QEMU{}).Start(t.Context(), Spec{ID: "orphan", Disk: disk, Cloud: OCI, Firmware: UEFI64, CPUs: 1,
		SSH: os.Getenv("HELPER_SSH"), Metadata: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("qemu %d\n", m.(*qemuMachine).cmd.Process.Pid)
	<-m.Done()
}
