// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// inMemory is an image file.
type inMemory struct{ bytes.Buffer }

func (m *inMemory) Write(_ context.Context, p []byte) error {
	_, err := m.Buffer.Write(p)
	return err
}

func (m *inMemory) Finish(_ context.Context, front []byte) error {
	copy(m.Bytes(), front)
	return nil
}

// asVMDK makes a VMDK of a qcow2 file.
func asVMDK(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := diskimage.Open(f, i.Size())
	if err != nil {
		t.Fatal(err)
	}
	var m inMemory
	if _, err := diskimage.Write(t.Context(), &m, disk, diskimage.Options{Format: diskimage.VMDK}); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// A VMDK is imported as the disk that it is, by BIOS unless the undocumented launch options
// say otherwise, and what is none comes to nothing.
func TestImportVMDK(t *testing.T) {
	work := ""
	k := newKit(t, func(c *ocisim.Config) { work = c.WorkDir })
	store := k.storage(k.production, prodRegion)
	k.bucket(store, k.production, "images")
	disk := t.TempDir() + "/disk.qcow2"
	if err := machine.FastDisk(disk, map[string]string{"/etc/motd": "hello\n"}); err != nil {
		t.Fatal(err)
	}
	good := asVMDK(t, disk)
	qcow2, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(good)
	damaged[64<<10+100] ^= 1
	c, w := k.compute(k.production, prodRegion), k.work(k.production, prodRegion)
	const plain, custom = `"launchMode":"PARAVIRTUALIZED"`, `"launchMode":"CUSTOM","launchOptions":{"firmware":"UEFI_64","bootVolumeType":"PARAVIRTUALIZED","networkType":"PARAVIRTUALIZED",` +
		`"remoteDataVolumeType":"PARAVIRTUALIZED","isPvEncryptionInTransitEnabled":false,"isConsistentVolumeNamingEnabled":false}`
	for i, tt := range []struct {
		name   string
		object []byte
		kind   string
		os     string
		launch string
		want   string // the firmware
		fails  string // why
	}{
		{"by default", good, "VMDK", "", plain, "BIOS", ""},
		{"with launch options", good, "VMDK", `,"operatingSystem":"Debian","operatingSystemVersion":"12"`, custom, "UEFI_64", ""},
		{"a qcow2 file", qcow2, "VMDK", "", custom, "", "not a VMDK"},
		{"cut short", good[:len(good)-512], "VMDK", "", custom, "", "cut short"},
		{"damaged", damaged, "VMDK", "", custom, "", "unpack it"},
		{"split over files", bytes.Replace(good, []byte("streamOptimized"), []byte("twoGbMaxExtents"), 1), "VMDK", "", custom, "", "only monolithicSparse and streamOptimized"},
		{"said to be a qcow2 file", good, "QCOW2", "", custom, "", "not a qcow2 image"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, name := filepath.Join(t.TempDir(), "object"), fmt.Sprintf("%d.vmdk", i)
			if err := os.WriteFile(path, tt.object, 0o600); err != nil {
				t.Fatal(err)
			}
			k.upload(store, k.production, "images", name, path)
			source := fmt.Sprintf(`{"sourceType":"objectStorageTuple","bucketName":"images","namespaceName":%q,"objectName":%q,"sourceImageType":%q%s}`, k.production.Namespace, name, tt.kind, tt.os)
			id, job := k.importRaw(c, source, tt.launch)
			ended := k.workEnds(w, job)
			file := filepath.Join(work, "images", id+".qcow2")
			if tt.fails != "" {
				k.imageReaches(c, id, core.ImageLifecycleStateDeleted)
				reasons, err := w.ListWorkRequestErrors(t.Context(), workrequests.ListWorkRequestErrorsRequest{WorkRequestId: job})
				if err != nil || ended.Status != workrequests.WorkRequestStatusFailed || len(reasons.Items) != 1 || !strings.Contains(*reasons.Items[0].Message, tt.fails) {
					t.Errorf("%s, %v, %v", ended.Status, reasons.Items, err)
				}
				if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				return
			}
			img := k.imageReaches(c, id, core.ImageLifecycleStateAvailable)
			if system := *img.OperatingSystem + *img.OperatingSystemVersion; string(img.LaunchOptions.Firmware) != tt.want || (system == "Debian12") != (tt.os != "") || (system == "Custom1") != (tt.os == "") {
				t.Errorf("%+v", img)
			}
			if err := machine.SameDisks(disk, file); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
