// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// command runs a program on this host; e2fsprogs may be in sbin.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if p, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = p, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// capturedDisk downloads a captured disk and unpacks it to a raw file.
func capturedDisk(t *testing.T, s *stage.Stage, object string) string {
	t.Helper()
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(s.Build.ID, s.Build.UserID, stage.BuildRegion, s.Build.Fingerprint(), s.Build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	client.HTTPClient = s.Net.Client()
	r, err := client.GetObject(t.Context(), objectstorage.GetObjectRequest{NamespaceName: &s.Build.Namespace, BucketName: common.String(stage.BucketName), ObjectName: &object})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Content.Close()
	dir := t.TempDir()
	archive := tar.NewReader(r.Content)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, filepath.Base(h.Name)))
		if err == nil {
			_, err = io.Copy(f, archive)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	image, raw := filepath.Join(dir, "output.QCOW2"), filepath.Join(dir, "raw")
	command(t, "qemu-img", "check", image)
	command(t, "qemu-img", "convert", "-O", "raw", image, raw)
	return raw
}

// rootOf takes the ext4 file system out of a disk.
func rootOf(t *testing.T, disk string) string {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	areas := areasOf(t, disk)
	for _, a := range areas {
		if a.Kind != "ext4" {
			continue
		}
		root := filepath.Join(t.TempDir(), "root")
		out, err := os.Create(root)
		if err == nil {
			err = errors.Join(sparseCopy(out, io.NewSectionReader(f, a.Start, a.End-a.Start)), out.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	t.Fatalf("there is no ext4: %+v", areas)
	return ""
}

// sparseCopy copies, and leaves holes where there are only zeros.
func sparseCopy(to *os.File, from *io.SectionReader) error {
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < from.Size(); at += int64(len(buf)) {
		n, err := from.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(buf[:n], zeros[:n]) {
			continue
		}
		if _, err := to.WriteAt(buf[:n], at); err != nil {
			return err
		}
	}
	return to.Truncate(from.Size())
}

// objectStorage lets guests reach the build region's Object Storage at an address of
// theirs, through the network of the stage.
func objectStorage(t *testing.T, s *stage.Stage) (address, host string) {
	t.Helper()
	host = "objectstorage." + stage.BuildRegion + ".oraclecloud.com"
	proxy := ""
	for _, e := range s.Env() {
		if v, ok := strings.CutPrefix(e, "HTTPS_PROXY=http://"); ok {
			proxy = strings.TrimSuffix(v, "/")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil || proxy == "" {
		t.Fatalf("%v, proxy %q", err, proxy)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve := func(guest net.Conn) {
		defer guest.Close()
		cloud, err := net.Dial("tcp", proxy)
		if err != nil {
			return
		}
		defer cloud.Close()
		fmt.Fprintf(cloud, "CONNECT %[1]s:443 HTTP/1.1\r\nHost: %[1]s:443\r\n\r\n", host)
		in := bufio.NewReader(cloud)
		if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusOK {
			return
		}
		go func() {
			_, _ = io.Copy(cloud, guest)
			_ = cloud.Close()
		}()
		_, _ = io.Copy(guest, in)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), host
}

var capturedObject = regexp.MustCompile(`into the object (armfree-capture-\S+\.oci)`)

// The scenario of example/always-free with the real Packer, and a real ARM64 machine in a
// tenancy that may have no images: it is hardened and checked, its disk is captured from
// within although nobody may become root any more, uploaded by the machine itself,
// imported in production, and boots and passes there. From the moment at which its
// capture began, the same machine is also imaged by CreateImage, and both disks are the
// same, file by file. Where ARM64 is emulated this takes very long.
func TestAccCaptureGuest(t *testing.T) {
	acceptance(t)
	if os.Getenv("ACC_SLOW") == "" {
		t.Skip("takes half an hour where ARM64 is emulated: ACC_SLOW=1 make testacc runs it")
	}
	guests, err := stage.OpenGuests(os.Getenv("ACC_GUEST"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guests.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	two := &bothWays{t: t, driver: guests.Driver}
	s := stage.ForTest(t, stage.Options{Driver: two, Disks: guests.Disks, Image: guests.Image, PlatformImages: true, Wrap: two.Wrap})
	two.s = s
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Tenancy: s.Build.Name}); err != nil {
		t.Fatal(err)
	}
	address, host := objectStorage(t, s)
	guests.Driver.Services["169.254.10.20:443"] = address
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(filepath.Join(root, "example"))); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(work, "known.sh") // what a name server knows elsewhere
	if err := os.WriteFile(known, []byte("#!/bin/sh\necho 169.254.10.20 "+host+" >>/etc/hosts\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func(paths ...string) string { return `["` + strings.Join(paths, `","`) + `"]` }
	start := time.Now()
	var out inpacker.Output
	err = p.Run(t.Context(), filepath.Join(work, "always-free"), s.Env(), &out, "build", "-color=false",
		"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "ssh_username=debian",
		"-var", "scripts="+list(known, filepath.Join(work, "pipeline/scripts/harden.sh")),
		"-var", `script_env={APT_SOURCE="`+stage.APTSource+`",INSTALL_TAILSCALE="false"}`,
		"-var", "tests="+list(filepath.Join(work, "always-free/always-free.goss.yaml"), filepath.Join(work, "pipeline/goss/base.goss.yaml"), filepath.Join(work, "pipeline/goss/oci-bootable.goss.yaml")),
		"-var", "verify_subnet_ocid="+s.Production.SubnetID(stage.ProductionRegion), ".")
	t.Logf("took %s\n%s", time.Since(start), out.String())
	if err != nil {
		t.Fatal(err)
	}
	said := out.String()
	for _, want := range []string{"so the disk is captured", "forget: done", "straight from the machine", " 0 failed, 0 skipped", "The image 'always-free-"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	object := capturedObject.FindStringSubmatch(said)
	if object == nil {
		t.Fatal("no object is named")
	}
	disk := capturedDisk(t, s, object[1])
	root := rootOf(t, disk)
	t.Log(command(t, "e2fsck", "-fn", root))
	sameAsFinished(t, root)
	sameAsImage(t, two.disk(), disk)
	if left := s.Left(append(imageID.FindAllString(said, -1), two.image, stage.BucketName+"/"+object[1])...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// sameAsFinished looks for what only the machine itself had.
func sameAsFinished(t *testing.T, root string) {
	t.Helper()
	dir := t.TempDir()
	command(t, "debugfs", "-R", "rdump /etc "+dir, root)
	command(t, "debugfs", "-R", "rdump /var/log "+dir, root)
	if b, err := os.ReadFile(filepath.Join(dir, "etc/machine-id")); err != nil || len(b) > 0 {
		t.Errorf("machine-id %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/always-free")); err != nil || string(b) != "by always-free\n" {
		t.Errorf("what the build wrote: %q, %v", b, err)
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "etc/ssh/ssh_host_*")); len(keys) > 0 {
		t.Errorf("host keys %q", keys)
	}
	err := filepath.WalkDir(filepath.Join(dir, "log"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if i, err := d.Info(); err == nil && i.Mode().IsRegular() && i.Size() > 0 {
			t.Errorf("%s has %d bytes", path, i.Size())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
