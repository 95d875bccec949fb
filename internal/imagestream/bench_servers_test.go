// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"cmp"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// benchCloud plays EBS direct and Object Storage for a measurement. It is as lean as it
// can be, since it runs on the processors that are measured: it signs nothing, knows the
// checksums of blocks beforehand and keeps parts in files. What the services are like
// is the simulators' part.
type benchCloud struct {
	disk    *os.File
	sums    map[int64]string
	order   []int64
	latency time.Duration
	dir     string

	mu     sync.Mutex
	parts  map[string]map[int]benchPart // by upload
	stored int64                        // bytes of the last object
}

type benchPart struct {
	etag string
	sum  [md5.Size]byte
	size int64
}

func newBenchCloud(b *testing.B, disk string, latency time.Duration) *benchCloud {
	b.Helper()
	f, err := os.Open(disk)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	c := &benchCloud{disk: f, sums: map[int64]string{}, latency: latency, dir: b.TempDir(), parts: map[string]map[int]benchPart{}}
	buf, zero := make([]byte, block), sha256.Sum256(make([]byte, block))
	for i := int64(0); ; i++ {
		if n, err := f.ReadAt(buf, i*block); n < block {
			if err != io.EOF {
				b.Fatal(err)
			}
			return c
		}
		if sum := sha256.Sum256(buf); sum != zero {
			c.sums[i] = base64.StdEncoding.EncodeToString(sum[:])
			c.order = append(c.order, i)
		}
	}
}

func (c *benchCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case strings.HasPrefix(r.Host, "ebs.") && len(path) == 3:
		c.list(w, r)
	case strings.HasPrefix(r.Host, "ebs."):
		c.block(w, path[3])
	case r.Method == http.MethodPost && r.URL.Query().Get("uploadId") == "":
		id := rand.Text()
		c.mu.Lock()
		c.parts[id] = map[int]benchPart{}
		c.mu.Unlock()
		answer(w, map[string]any{"namespace": "n", "bucket": "b", "object": object, "uploadId": id, "timeCreated": time.Now().UTC().Format(time.RFC3339)})
	case r.Method == http.MethodPut:
		c.part(w, r)
	case r.Method == http.MethodPost:
		c.commit(w, r.URL.Query().Get("uploadId"))
	default:
		answer(w, []any{}) // no uploads are there
	}
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (c *benchCloud) list(w http.ResponseWriter, r *http.Request) {
	time.Sleep(c.latency)
	from, _ := strconv.Atoi(r.URL.Query().Get("pageToken"))
	to := min(from+10000, len(c.order))
	blocks := []map[string]any{}
	for _, i := range c.order[from:to] {
		blocks = append(blocks, map[string]any{"BlockIndex": i, "BlockToken": strings.Repeat("t", 80)})
	}
	out := map[string]any{"Blocks": blocks, "BlockSize": block, "VolumeSize": 8, "ExpiryTime": 2e9}
	if to < len(c.order) {
		out["NextToken"] = strconv.Itoa(to)
	}
	answer(w, out)
}

func (c *benchCloud) block(w http.ResponseWriter, index string) {
	time.Sleep(c.latency)
	i, _ := strconv.ParseInt(index, 10, 64)
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(block))
	h.Set("X-Amz-Data-Length", strconv.Itoa(block))
	h.Set("X-Amz-Checksum", c.sums[i])
	h.Set("X-Amz-Checksum-Algorithm", "SHA256")
	_, _ = io.Copy(w, io.NewSectionReader(c.disk, i*block, block))
}

func (c *benchCloud) part(w http.ResponseWriter, r *http.Request) {
	id, number := r.URL.Query().Get("uploadId"), r.URL.Query().Get("uploadPartNum")
	f, err := os.Create(filepath.Join(c.dir, id+"-"+number))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := md5.New()
	size, err := io.Copy(io.MultiWriter(f, sum), r.Body)
	if err = cmp.Or(err, f.Close()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p := benchPart{etag: rand.Text(), size: size}
	sum.Sum(p.sum[:0])
	n, _ := strconv.Atoi(number)
	c.mu.Lock()
	c.parts[id][n] = p
	c.mu.Unlock()
	w.Header().Set("Etag", p.etag)
	w.Header().Set("Opc-Content-Md5", base64.StdEncoding.EncodeToString(p.sum[:]))
}

func (c *benchCloud) commit(w http.ResponseWriter, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := md5.New()
	c.stored = 0
	for _, n := range slices.Sorted(maps.Keys(c.parts[id])) {
		p := c.parts[id][n]
		all.Write(p.sum[:])
		c.stored += p.size
		_ = os.Remove(filepath.Join(c.dir, id+"-"+strconv.Itoa(n)))
	}
	w.Header().Set("Etag", rand.Text())
	w.Header().Set("Opc-Multipart-Md5", base64.StdEncoding.EncodeToString(all.Sum(nil))+"-"+strconv.Itoa(len(c.parts[id])))
}

// benchDisk makes the raw bytes of a disk of 8 GiB with so many MiB of the files under
// /usr in it: every so many-th of them, at multiples of 4 KiB, all over the disk.
func benchDisk(b *testing.B, mib int64) string {
	b.Helper()
	type found struct {
		path string
		size int64
	}
	var all []found
	var total int64
	_ = filepath.WalkDir("/usr", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		i, err := d.Info()
		if err != nil {
			return fs.SkipDir
		}
		if i.Size() > 0 && i.Size() < 200<<20 {
			all = append(all, found{path, i.Size()})
			total += i.Size()
		}
		return nil
	})
	if total < mib<<20 {
		b.Fatalf("/usr has %d MiB of files only", total>>20)
	}
	share := func(path string) float64 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(path))
		return float64(h.Sum32()) / (1 << 32)
	}
	path := filepath.Join(b.TempDir(), "disk.raw")
	out, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	at, written := int64(1<<20), int64(0)
	for _, f := range all {
		if share(f.path) > float64(mib<<20)/float64(total)*1.1 || written > mib<<20 {
			continue
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			continue
		}
		if _, err := out.WriteAt(data, at); err != nil {
			b.Fatal(err)
		}
		written += int64(len(data))
		at += (int64(len(data)) + 4095) &^ 4095
		if at%(64<<20) > 48<<20 { // what is not used lies between what is
			at = (at + 80<<20) &^ (16<<20 - 1)
		}
	}
	if err := out.Truncate(8 << 30); err != nil || at > 8<<30 {
		b.Fatalf("%v, %s", err, fmt.Sprint(at))
	}
	return path
}
