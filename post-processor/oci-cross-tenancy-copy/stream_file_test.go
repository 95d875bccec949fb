// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// ofFile is a template that copies a file.
func (f *flying) ofFile(options map[string]interface{}) map[string]interface{} {
	in := f.virtual.settings("direct")
	delete(in, "source_image_ocid")
	delete(in, "dest_image_name")
	for k, v := range options {
		in[k] = v
	}
	return in
}

// A file of one's own becomes an image for A1, wherever it is, whether it is qcow2 or
// raw; and only if it is the one that the digest is of.
func TestStreamFile(t *testing.T) {
	for name, tt := range map[string]struct {
		url, raw bool
		form     string
		sum      string // "": none; "wrong"
		limit    int
		fails    bool
		says     string
	}{
		"file":                 {},
		"file with its digest": {sum: "sha512"},
		"raw file":             {raw: true},
		"file as a VMDK":       {form: "vmdk"},
		"raw file as a VMDK":   {raw: true, form: "vmdk"},
		"URL as a VMDK":        {url: true, sum: "sha256", form: "vmdk"},
		"another file":         {sum: "wrong", fails: true, says: "is not the image that source_checksum is of"},
		"URL":                  {url: true, sum: "sha256", says: "Downloading https://images.example/debian-12-genericcloud-arm64.qcow2\n"},
		"URL of another file":  {url: true, sum: "wrong", fails: true, says: "is not the image that source_checksum is of"},
		"within the limit":     {sum: "sha256", limit: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(3), func(t *testing.T, f *flying) {
				path, want := filepath.Join(t.TempDir(), "debian-12-genericcloud-arm64.qcow2"), f.disk
				data, err := os.ReadFile(f.disk)
				if err != nil {
					t.Fatal(err)
				}
				if tt.raw {
					// A disk of 2 MiB, with the mark of a partition table.
					data = append(data[:2<<20], 0)[:2<<20]
					copy(data, "no longer qcow2")
					copy(data[510:], "\x55\xaa")
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				options := map[string]interface{}{"source_file": path}
				if tt.url {
					options = map[string]interface{}{"source_url": "https://images.example/debian-12-genericcloud-arm64.qcow2?token=hunter2hunter2"}
				}
				options["image_format"] = tt.form
				switch tt.sum {
				case "sha256":
					options["source_checksum"] = fmt.Sprintf("%X", sha256.Sum256(data))
				case "sha512":
					options["source_checksum"] = fmt.Sprintf("sha512:%x", sha512.Sum512(data))
				case "wrong":
					options["source_checksum"] = fmt.Sprintf("sha256:%x", sha256.Sum256(nil))
				}
				if tt.limit > 0 {
					options["size_limit_in_gbs"] = tt.limit
				}
				image, said, err := f.copy(t.Context(), t, f.ofFile(options))
				if (err != nil) != tt.fails || !strings.Contains(said, tt.says) || strings.Contains(said, "hunter2") {
					t.Fatalf("%v, want %q\n%s", err, tt.says, said)
				}
				if tt.fails {
					if left := f.left(); len(left) > 0 || len(f.imported(t)) > 0 {
						t.Errorf("left: %q", left)
					}
					return
				}
				f.mustLeave(t, image, said)
				img := f.get(t, image)
				if *img.DisplayName != "debian-12-genericcloud-arm64" || img.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 || *img.OperatingSystem != "Debian" || *img.OperatingSystemVersion != "12" {
					t.Errorf("%+v", img)
				}
				if tt.raw {
					f.mustHoldBytes(t, data)
				} else {
					f.mustHold(t, want)
				}
				// The same file is not brought twice, whatever it is called.
				if tt.url {
					options["source_url"] = "https://images.example/renamed/debian-12-genericcloud-arm64.raw"
				}
				again, said, err := f.copy(t.Context(), t, f.ofFile(options))
				if err != nil || again != image || !strings.Contains(said, "is a finished copy of sha") {
					t.Errorf("%s after %s, %v\n%s", again, image, err, said)
				}
			})
		})
	}
}

// A file that somebody writes to while it is uploaded becomes no image, also if all of it has
// been read.
func TestStreamFileThatChanges(t *testing.T) {
	for _, name := range []string{"nothing happens", "it is written to", "it is written to before it is uploaded"} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(3), func(t *testing.T, f *flying) {
				path, before := filepath.Join(t.TempDir(), "debian-12-genericcloud-arm64.qcow2"), time.Now().Add(-time.Hour)
				data, err := os.ReadFile(f.disk)
				if err == nil {
					err = errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, before, before))
				}
				if err != nil {
					t.Fatal(err)
				}
				changed := false
				f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
					// Its digest is computed before the first request.
					now := name != "nothing happens" && (name != "it is written to" || strings.Contains(r.URL.Path, "/u/") && r.Method == http.MethodPut)
					if !changed && now {
						changed = true
						w, err := os.OpenFile(path, os.O_WRONLY, 0)
						if err == nil {
							_, err = w.WriteAt([]byte("CHANGED"), int64(len(data))-512)
							err = errors.Join(err, w.Close())
						}
						if err != nil {
							t.Error(err)
						}
					}
					return false
				})
				image, said, err := f.copy(t.Context(), t, f.ofFile(map[string]interface{}{"source_file": path}))
				if name == "nothing happens" {
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					f.mustLeave(t, image, said)
					return
				}
				if err == nil || !changed || !strings.Contains(said, "source_file: "+path+" changed while it was read") || strings.Contains(said, "source_checksum") {
					t.Errorf("%v\n%s", err, said)
				}
				if left := f.left(); len(left) > 0 || len(f.imported(t)) > 0 {
					t.Errorf("left: %q, imported %q", left, f.imported(t))
				}
			})
		})
	}
}

// A file that is larger than what Object Storage is free for is not brought there.
func TestStreamFileTooLarge(t *testing.T) {
	inFlight(t, blocks(3), func(t *testing.T, f *flying) {
		path := filepath.Join(t.TempDir(), "large.raw")
		if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 3<<30); err != nil {
			t.Fatal(err)
		}
		_, said, err := f.copy(t.Context(), t, f.ofFile(map[string]interface{}{"source_file": path, "size_limit_in_gbs": 2, "source_checksum": fmt.Sprintf("sha256:%064x", 1)}))
		if err == nil || !strings.Contains(said, "has 3 GB, and the limit is 2") || !strings.Contains(said, "nothing was started") {
			t.Errorf("%v\n%s", err, said)
		}
	})
}

// What OCI could not import is refused before anything is started: a disk that is too
// large, whatever the file is, and a file that is no disk.
func TestStreamFileIsLookedAtFirst(t *testing.T) {
	large := noDisk{8 << 40}
	for name, tt := range map[string]struct {
		data []byte
		says string
	}{
		"too large": {packed(t, large), "it has a disk of 8192 GiB; OCI imports up to 400"},
		"no disk":   {[]byte("<html>moved</html>"), "neither qcow2, VMDK, an .oci archive nor the raw bytes of a disk"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				path := filepath.Join(t.TempDir(), "disk.qcow2")
				if err := os.WriteFile(path, tt.data, 0o600); err != nil {
					t.Fatal(err)
				}
				_, said, err := f.copy(t.Context(), t, f.ofFile(map[string]interface{}{"source_file": path}))
				if err == nil || !strings.Contains(said, tt.says) || !strings.Contains(said, "nothing was started") || len(f.left()) > 0 {
					t.Errorf("%v, want %q, left %q\n%s", err, tt.says, f.left(), said)
				}
			})
		})
	}
}

// noDisk is an empty disk of some size.
type noDisk struct{ size int64 }

func (d noDisk) Size() int64                                            { return d.size }
func (noDisk) PieceSize() int                                           { return ebsBlock }
func (noDisk) ReadPiece(context.Context, diskimage.Piece, []byte) error { return nil }
func (noDisk) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(func(diskimage.Piece, error) bool) {}
}

// packed is a disk as an .oci archive.
func packed(t *testing.T, d diskimage.Source) []byte {
	t.Helper()
	var m memory
	a, err := diskimage.NewArchive(&m, diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"})
	if err == nil {
		_, err = diskimage.Write(t.Context(), a, d, diskimage.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// A file that a builder was to make and did not is told before anything is started.
func TestStreamFileMissing(t *testing.T) {
	for _, sum := range []string{"", fmt.Sprintf("sha256:%064x", 1)} {
		inFlight(t, blocks(1), func(t *testing.T, f *flying) {
			options := map[string]interface{}{"source_file": filepath.Join(t.TempDir(), "none.raw"), "source_checksum": sum}
			_, said, err := f.copy(t.Context(), t, f.ofFile(options))
			if err == nil || !strings.Contains(said, "source_file: there is no file ") || len(f.left()) > 0 {
				t.Errorf("%v, left %q\n%s", err, f.left(), said)
			}
		})
	}
}

func TestStreamMistakes(t *testing.T) {
	sum := fmt.Sprintf("sha256:%064x", 1)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, base := template(t)
	delete(base, "source_image_ocid")
	for _, tt := range []struct {
		options map[string]interface{}
		says    string // "": nothing is wrong
	}{
		{map[string]interface{}{"source_file": path}, ""},
		{map[string]interface{}{"source_file": path, "source_checksum": sum}, ""},
		{map[string]interface{}{"source_url": "https://h/disk.raw", "source_checksum": sum}, ""},
		{map[string]interface{}{"source_url": "https://h/disk.raw"}, "source_checksum must be"},
		{map[string]interface{}{"source_url": "ftp://h/disk.raw", "source_checksum": sum}, "source_url must be an http or https URL"},
		{map[string]interface{}{"source_file": path, "source_checksum": "md5:0"}, "source_checksum must be"},
		// A builder may make it; null makes nothing.
		{map[string]interface{}{"source_file": path + "x"}, ""},
		{map[string]interface{}{"source_file": path + "x", "packer_builder_type": "qemu"}, ""},
		{map[string]interface{}{"source_file": path + "x", "packer_builder_type": "null"}, "there is no file"},
		{map[string]interface{}{"source_file": path, "packer_builder_type": "null"}, ""},
		{map[string]interface{}{"source_file": filepath.Dir(path)}, "is no regular file"},
		{map[string]interface{}{"source_file": path, "source_url": "https://h/disk.raw", "source_checksum": sum}, "source_file and source_url exclude each other"},
		{map[string]interface{}{"source_file": path, "source_ami": "ami-0123456789abcdef0"}, "source_ami and source_file exclude each other"},
		{map[string]interface{}{"source_object": "armfree-capture-x-b.oci"}, ""},
		{map[string]interface{}{"source_object": "o", "packer_builder_type": "armfree-aws", "aws": map[string]interface{}{"access_key": "AKIA1"}}, ""},
		{map[string]interface{}{"source_file": path, "source_object": "o"}, "source_file and source_object exclude each other"},
		{map[string]interface{}{"source_object": "o", "source_checksum": "AgQlttlYM7ya/tH0Fosu9A==-3"}, ""},
		{map[string]interface{}{"source_object": "o", "source_checksum": sum}, "source_checksum of an object must be its opc-multipart-md5"},
		{map[string]interface{}{"source_object": "o", "source_checksum": "AgQlttlYM7ya/tH0Fosu9A=="}, "source_checksum of an object must be its opc-multipart-md5"},
		{map[string]interface{}{"source_object": "o", "object_name": "p"}, "object_name and source_object exclude each other"},
		{map[string]interface{}{"source_file": path, "keep_source_image": false}, "a file is never deleted"},
		{map[string]interface{}{"source_image_ocid": "ocid1.image.oc1..a", "source_checksum": sum}, "source_checksum goes with"},
		{map[string]interface{}{"source_file": path, "compression": "gzip"}, "compression must be zstd, deflate or none"},
		{map[string]interface{}{"source_file": path, "image_format": "oci", "compression": "none"}, ""},
		{map[string]interface{}{"source_file": path, "image_format": "vmdk"}, ""},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "image_format": "vmdk", "compression": "deflate"}, ""},
		{map[string]interface{}{"packer_builder_type": "armfree", "image_format": "vmdk"}, ""},
		{map[string]interface{}{"packer_builder_type": "amazon-ebs", "image_format": "vmdk"}, ""},
		{map[string]interface{}{"packer_builder_type": "armfree-oci", "source_file": path, "image_format": "vmdk"}, ""},
		{map[string]interface{}{"source_file": path, "image_format": "vhd"}, "image_format must be oci or vmdk, it is \"vhd\""},
		{map[string]interface{}{"source_file": path, "image_format": "vmdk", "compression": "zstd"}, "compression must be deflate, or be left out, with image_format = \"vmdk\""},
		{map[string]interface{}{"source_file": path, "image_format": "vmdk", "compression": "none"}, "a VMDK knows no other; it is \"none\""},
		{map[string]interface{}{"source_image_ocid": "ocid1.image.oc1..a", "image_format": "vmdk"}, "image_format goes with an AMI or a file: an image on OCI"},
		{map[string]interface{}{"source_object": "armfree-capture-x-b.oci", "image_format": "oci"}, "image_format goes with an AMI or a file: source_object"},
		{map[string]interface{}{"packer_builder_type": "armfree-oci", "image_format": "vmdk"}, "what armfree-oci makes is an .oci archive"},
		{map[string]interface{}{"packer_builder_type": "oracle-oci", "image_format": "vmdk"}, "what oracle-oci makes is an .oci archive"},
		{map[string]interface{}{"source_ami": "i-0123456789abcdef0"}, "source_ami must be the id of an AMI"},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0"}, ""},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "aws": map[string]interface{}{"region": "eu-central-1a"}}, "aws.region is \"eu-central-1a\", which is an availability zone"},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "aws": map[string]interface{}{"access_key": "AKIA1"}}, "aws.region must be set"},
		{map[string]interface{}{"packer_builder_type": "armfree-aws", "aws": map[string]interface{}{"access_key": "AKIA1"}}, "aws.secret_key must be set"},
		{map[string]interface{}{"packer_builder_type": "amazon-ebs"}, ""},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "export_image": export("armfree-exports", "exports/", "vmimport")}, ""},
		{map[string]interface{}{"packer_builder_type": "armfree", "export_image": export("armfree-exports", "", "")}, ""},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "export_image": export("", "", "")}, "export_image.s3_bucket_name must be set"},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "export_image": export("Not_A_Bucket", "", "")}, "must be the name of a bucket of S3"},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "export_image": export("armfree-exports", "/exports", "")}, "without a slash at its beginning"},
		{map[string]interface{}{"source_ami": "ami-0123456789abcdef0", "export_image": export("armfree-exports", "", "arn:aws:iam::123456789012:role/vmimport")}, "must be the name of a role, not its ARN"},
		{map[string]interface{}{"source_file": path, "export_image": export("armfree-exports", "", "")}, "export_image goes with an AMI"},
		{map[string]interface{}{"source_file": path, "source_checksum": "SHA256:" + strings.ToUpper(strings.TrimPrefix(sum, "sha256:"))}, ""},
		{map[string]interface{}{"packer_builder_type": "armfree-aws", "source_image_ocid": "ocid1.image.oc1..a", "aws": map[string]interface{}{"access_key": "AKIA1"}}, ""},
	} {
		t.Run(fmt.Sprint(tt.options), func(t *testing.T) {
			in := with(base, nil)
			if a, is := tt.options["aws"].(map[string]interface{}); !is {
				in["aws"] = map[string]interface{}{"region": awsRegion, "access_key": "AKIA1", "secret_key": "secret-key"}
			} else if a["region"] != nil {
				a["access_key"], a["secret_key"] = "AKIA1", "secret-key"
			}
			for k, v := range tt.options {
				in[k] = v
			}
			var c Config
			err := c.Prepare(in)
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func export(bucket, prefix, role string) map[string]interface{} {
	return map[string]interface{}{"s3_bucket_name": bucket, "s3_prefix": prefix, "role_name": role}
}
