// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tool is where a program is, which may be in sbin; empty if it is not there.
func tool(name string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if i, err := os.Stat(filepath.Join(dir, name)); err == nil && i.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

// makeDisk makes a disk with a file system of so many MiB of files from /usr. A fresh one
// has three times as much free, and nothing was ever there; in a third of what a used one
// has free are the same files once more, deleted; a full one has little that is free.
func makeDisk(b *testing.B, kind string, mib int) string {
	b.Helper()
	dir := b.TempDir()
	files, disk := filepath.Join(dir, "files"), filepath.Join(dir, "disk")
	size := int64(mib) << 22
	if kind == "full" {
		size = int64(mib)<<20*11/10 + 64<<20
	}
	out, err := os.Create(disk)
	if err != nil {
		b.Fatal(err)
	}
	total, left := int64(mib)<<20, int64(mib)<<20
	deleted := size / 2
	err = filepath.WalkDir("/usr", func(path string, d fs.DirEntry, err error) error {
		if err != nil || left <= 0 || !d.Type().IsRegular() {
			return nil //nolint:nilerr // somebody else's folder
		}
		i, err := d.Info()
		if err != nil || i.Size() == 0 || i.Size() > 200<<20 {
			return nil //nolint:nilerr // likewise
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		left -= int64(len(data))
		if kind == "used" {
			if _, err := out.WriteAt(data, deleted); err != nil {
				return err
			}
			deleted += int64(len(data))
		}
		to := filepath.Join(files, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	})
	if err != nil || left > 0 {
		b.Fatalf("/usr has %d MiB of %d: %v", (total-left)>>20, mib, err)
	}
	if err := out.Truncate(size); err != nil {
		b.Fatal(err)
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
	if said, err := exec.CommandContext(b.Context(), tool("mke2fs"), "-q", "-F", "-t", "ext4", "-m", "0", "-E", "nodiscard", "-d", files, disk).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	if err := os.RemoveAll(files); err != nil {
		b.Fatal(err)
	}
	// Holes would be read faster than a disk is.
	full, err := os.Open(disk)
	if err != nil {
		b.Fatal(err)
	}
	defer full.Close()
	solid, err := os.Create(disk + ".solid")
	if err == nil {
		_, err = io.Copy(struct{ io.Writer }{solid}, struct{ io.Reader }{full})
	}
	if err == nil {
		err = solid.Sync()
	}
	if err == nil {
		err = solid.Close()
	}
	if err == nil {
		err = os.Remove(disk)
	}
	if err != nil {
		b.Fatal(err)
	}
	return disk + ".solid"
}

// benchStore is an Object Storage that takes parts, checks them, and forgets them.
type benchStore struct {
	server *httptest.Server
	got    atomic.Int64
}

func newBenchStore(b *testing.B) *benchStore {
	s := &benchStore{}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := md5.New() //nolint:gosec // the service's own checksum
		n, err := io.Copy(sum, r.Body)
		md5 := base64.StdEncoding.EncodeToString(sum.Sum(nil))
		if err != nil || r.Method == http.MethodPut && md5 != r.Header.Get("Content-MD5") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.got.Add(n)
		w.Header().Set("ETag", "e")
		w.Header().Set("opc-content-md5", md5)
	}))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that only try
	s.server.StartTLS()
	b.Cleanup(s.server.Close)
	return s
}

func (s *benchStore) url() string  { return s.server.URL + "/p/secret/u/o/id/1/" }
func (s *benchStore) reset()       { s.got.Store(0) }
func (s *benchStore) bytes() int64 { return s.got.Load() }

// ca is a file with the certificate of the server.
func (s *benchStore) ca(dir string) string {
	path := filepath.Join(dir, "ca.pem")
	_ = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}), 0o600)
	return path
}

// watch looks at what runs on the machine.
type watch struct {
	mu     sync.Mutex
	cpu    time.Duration
	memory int64
}

func newWatch() *watch { return &watch{} }

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cpu, w.memory = 0, 0
}

// begun notes the most memory that the processes of a session have together.
func (w *watch) begun(_ string, leader int) {
	go func() {
		session := strconv.Itoa(leader)
		peaks := map[string]int64{}
		for {
			if _, err := os.Stat("/proc/" + session); err != nil {
				return
			}
			stats, _ := filepath.Glob("/proc/[0-9]*/stat")
			for _, path := range stats {
				stat, _ := os.ReadFile(path)
				_, after, ok := bytes.Cut(stat, []byte(") "))
				f := strings.Fields(string(after)) // state, parent, group, session
				if !ok || len(f) < 4 || f[3] != session {
					continue
				}
				pid := filepath.Dir(path)
				status, _ := os.ReadFile(pid + "/status")
				_, rest, _ := strings.Cut(string(status), "VmHWM:")
				var kib int64
				_, _ = fmt.Sscan(rest, &kib)
				peaks[pid] = max(peaks[pid], kib<<10)
			}
			var sum int64
			for _, n := range peaks {
				sum += n
			}
			w.mu.Lock()
			w.memory = max(w.memory, sum)
			w.mu.Unlock()
			time.Sleep(50 * time.Millisecond)
		}
	}()
}

func (w *watch) ran(_ string, state *os.ProcessState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cpu += state.UserTime() + state.SystemTime()
}

// ended is what the machine's command took, if there was one.
func (w *watch) ended() (time.Duration, int64) {
	w.mu.Lock()
	cpu, memory := w.cpu, w.memory
	w.mu.Unlock()
	return cpu, memory
}
