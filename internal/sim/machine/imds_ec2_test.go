// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// get asks the metadata service; header is names and values in turn.
func get(h http.Handler, method, path string, header ...string) (int, string) {
	r := httptest.NewRequest(method, "http://169.254.169.254"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestEC2Metadata(t *testing.T) {
	const ttl, token = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
	info := EC2Info{InstanceID: "i-1", ImageID: "ami-1", InstanceType: "t4g.micro", Architecture: "arm64", Region: "us-east-1", AvailabilityZone: "us-east-1a",
		MAC: "0e:00:00:00:00:01", PrivateIP: "127.96.0.4", PublicKey: "ssh-ed25519 AAAA k", UserData: []byte("#cloud-config\n"), Tags: map[string]string{"a": "b"}}
	loose := EC2Metadata(info)
	for path, want := range map[string]string{
		"/latest/meta-data/instance-id":               "i-1",
		"/2021-07-15/meta-data/instance-type":         "t4g.micro",
		"/latest/meta-data/placement/":                "availability-zone\nregion",
		"/latest/":                                    "dynamic/\nmeta-data/\nuser-data",
		"/latest/user-data":                           "#cloud-config\n",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA k\n",
		"/latest/meta-data/network/interfaces/macs/":  "0e:00:00:00:00:01/",
		"/latest/meta-data/network/interfaces/macs/0e:00:00:00:00:01/local-ipv4s": "127.96.0.4",
	} {
		if status, text := get(loose, "GET", path); status != 200 || text != want {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
	if _, text := get(loose, "GET", "/latest/dynamic/instance-identity/document"); !strings.Contains(text, `"architecture": "arm64"`) {
		t.Errorf("document %s", text)
	}
	for _, path := range []string{"/latest/meta-data/tags/instance/a", "/latest/meta-data/spot/instance-action", "/latest/meta-data/public-ipv4", "/opc/v2/instance/"} {
		if status, _ := get(loose, "GET", path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}

	info.TokenRequired, info.ShowTags = true, true
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	info.Interruption = func() time.Time { return at }
	strict := EC2Metadata(info)
	if status, _ := get(strict, "GET", "/latest/meta-data/instance-id"); status != 401 {
		t.Errorf("without a token: %d", status)
	}
	for _, seconds := range []string{"", "0", "21601", "x"} {
		if status, _ := get(strict, "PUT", "/latest/api/token", ttl, seconds); status != 400 {
			t.Errorf("a token for %q seconds: %d", seconds, status)
		}
	}
	if status, _ := get(strict, "PUT", "/latest/api/token", ttl, "60", "X-Forwarded-For", "1.2.3.4"); status != 403 {
		t.Errorf("a token through a proxy: %d", status)
	}
	_, mine := get(strict, "PUT", "/latest/api/token", ttl, "60")
	for path, want := range map[string]string{"/latest/meta-data/instance-id": "i-1", "/latest/meta-data/tags/instance/a": "b",
		"/latest/meta-data/spot/instance-action": `{"action": "terminate", "time": "2026-01-02T03:04:05Z"}`} {
		if status, text := get(strict, "GET", path, token, mine); status != 200 || text != want {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
	if status, _ := get(strict, "GET", "/latest/meta-data/instance-id", token, "wrong"); status != 401 {
		t.Errorf("with a wrong token: %d", status)
	}
	info.Disabled = true
	if status, _ := get(EC2Metadata(info), "PUT", "/latest/api/token", ttl, "60"); status != 403 {
		t.Errorf("disabled: %d", status)
	}
}

func TestDiskBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := FastDisk(path, map[string]string{"/etc/big": strings.Repeat("x", 3<<20)}); err != nil {
		t.Fatal(err)
	}
	disk, err := OpenDisk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	const size = 512 << 10
	blocks, err := disk.Blocks(size)
	if err != nil || len(blocks) < 6 || !slices.IsSorted(blocks) || disk.Size() != diskSize {
		t.Fatalf("blocks %v of %d bytes: %v", blocks, disk.Size(), err)
	}
	// What is in none of them is zero.
	for b := int64(0); b < blocks[len(blocks)-1]+10; b++ {
		data := make([]byte, size)
		if _, err := disk.ReadAt(data, b*size); err != nil {
			t.Fatal(err)
		}
		if written := strings.Trim(string(data), "\x00") != ""; written && !slices.Contains(blocks, b) {
			t.Errorf("block %d is not listed", b)
		}
	}
	if _, err := OpenDisk(path + "x"); err == nil {
		t.Error("a disk that does not exist")
	}
}
