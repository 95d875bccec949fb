// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/ebsdirect"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// Besides, BENCH_MIB and BENCH_ROUNDS say how much is read and how often, BENCH_PROFILE
// is a file for a profile of the stream, and BENCH_ONLY a part of the name of the
// pipelines that are run: "armfree, zstd".
//
// benchChild is the environment variable that makes this test a part of a measured
// pipeline: what it is to do, and with which file.
const benchChild = "ARMFREE_BENCH_CHILD"

// child runs one part in a process of its own, so that its memory can be told from the
// servers'.
func child(ctx context.Context, what string) error {
	what, file, _ := strings.Cut(what, " ")
	if path := os.Getenv("BENCH_PROFILE"); path != "" && strings.HasPrefix(what, "stream") {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	aws, err := ec2.NewClient(ctx, ec2.Credentials{Region: awsRegion, AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "secret", NoIMDS: true}, ec2.Options{})
	if err != nil {
		return err
	}
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: "ocid1.tenancy.oc1..t", User: "ocid1.user.oc1..u", Fingerprint: os.Getenv("BENCH_FINGERPRINT"), KeyPEM: os.Getenv("BENCH_KEY"), Region: ociRegion,
	}, oci.Options{})
	if err != nil {
		return err
	}
	bucket := &oci.Bucket{Client: client, Namespace: "n", Bucket: "b"}
	begin := func(ctx context.Context) (imagestream.Object, error) { return bucket.Upload(ctx, object) }
	switch what {
	case "stream", "stream-deflate":
		src, err := ebsdirect.Open(ctx, aws.Blocks(64), "snap-0123456789abcdef0", ebsdirect.Options{})
		if err != nil {
			return err
		}
		compression := diskimage.Zstd
		if what == "stream-deflate" {
			compression = diskimage.Deflate
		}
		r, err := imagestream.Run(ctx, imagestream.Job{
			Source: src, Begin: begin, Archive: &diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"}, Image: diskimage.Options{Compression: compression},
		})
		if err == nil {
			fmt.Printf("%+v\n", r)
		}
		return err
	case "download":
		return download(ctx, aws, file)
	case "upload":
		return upload(ctx, begin, file)
	}
	return fmt.Errorf("%q is nothing to do", what)
}

// download is what coldsnap does: list, then 64 workers that get, verify and write
// blocks into a sparse file.
func download(ctx context.Context, aws *ec2.Client, path string) error {
	src, err := ebsdirect.Open(ctx, aws.Blocks(64), "snap-0123456789abcdef0", ebsdirect.Options{})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(src.Size()); err != nil {
		return err
	}
	var all []diskimage.Piece
	for p, err := range src.Pieces(ctx) {
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	todo, failed := make(chan diskimage.Piece), make(chan error, 64)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			buf := make([]byte, block)
			for p := range todo {
				err := src.ReadPiece(ctx, p, buf)
				if err == nil {
					_, err = f.WriteAt(buf, p.Offset)
				}
				if err != nil {
					failed <- err
				}
			}
		})
	}
	for _, p := range all {
		todo <- p
	}
	close(todo)
	workers.Wait()
	close(failed)
	return cmp.Or(<-failed, f.Close())
}

// upload uploads a file in parts, as the stream does.
func upload(ctx context.Context, begin func(context.Context) (imagestream.Object, error), path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	o, err := begin(ctx)
	if err != nil {
		return err
	}
	parts, err := diskimage.NewParts(o, diskimage.MinPart, 4)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = parts.Write(ctx, buf[:n])
		}
		if err != nil {
			return err
		}
	}
	if err := parts.Finish(ctx, nil); err != nil {
		return err
	}
	return o.Commit(ctx)
}

// spent is what a process took.
type spent struct {
	time   time.Duration
	cpu    time.Duration
	memory int64 // bytes
}

func (s spent) then(t spent) spent {
	return spent{s.time + t.time, s.cpu + t.cpu, max(s.memory, t.memory)}
}

func command(b *testing.B, env []string, name string, args ...string) spent {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	// What the kernel says at the end of a process includes what its parent had.
	var peak int64
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				b.Fatalf("%s %v: %v\n%s", name, args, err, out.String())
			}
			return spent{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak}
		case <-time.After(20 * time.Millisecond):
			peak = max(peak, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has had so far, in bytes.
func highWater(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}

func setting(name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// row is what one pipeline came to over all rounds.
type row struct {
	name  string
	runs  []spent
	bytes int64 // of the object
}

func (r row) median() float64 {
	var all []float64
	for _, s := range r.runs {
		all = append(all, s.time.Seconds())
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (r row) peak() (m int64) {
	for _, s := range r.runs {
		m = max(m, s.memory)
	}
	return m
}

func (r row) cpu() (t float64) {
	for _, s := range r.runs {
		t += s.cpu.Seconds() / float64(len(r.runs))
	}
	return t
}

// BenchmarkStream is `make bench-stream`: from a snapshot to an object, beside download,
// qemu-img and upload, in turns.
func BenchmarkStream(b *testing.B) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		b.Fatal("qemu-img is what the stream is measured against; install qemu-utils")
	}
	mib, rounds := setting("BENCH_MIB", 1024), int(setting("BENCH_ROUNDS", 3))
	cloud := newBenchCloud(b, benchDisk(b, mib), 30*time.Millisecond)
	web, err := simnet.Start(cloud, simnet.Options{Domains: []string{simnet.OracleCloud, simnet.AmazonAWS}})
	if err != nil {
		b.Fatal(err)
	}
	defer web.Close()
	dir := b.TempDir()
	ca, err := web.CAFile(dir)
	if err != nil {
		b.Fatal(err)
	}
	run := func(what string) spent {
		return command(b, append(web.Env(ca), "BENCH_KEY="+tenancy().PrivateKeyPEM(), "BENCH_FINGERPRINT="+tenancy().Fingerprint(), benchChild+"="+what), os.Args[0], "-test.run=^$")
	}
	raw, image := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "image.qcow2")
	qemu := func(kind string) func() spent {
		return func() spent {
			s := run("download " + raw)
			s = s.then(command(b, nil, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type="+kind, raw, image))
			s = s.then(run("upload " + image))
			_, _ = os.Remove(raw), os.Remove(image)
			return s
		}
	}
	rows := []row{{name: "armfree, zstd"}, {name: "armfree, deflate"}, {name: "download, qemu-img zstd, upload"}, {name: "download, qemu-img zlib, upload"}}
	pipelines := []func() spent{func() spent { return run("stream") }, func() spent { return run("stream-deflate") }, qemu("zstd"), qemu("zlib")}
	for range rounds {
		for i, p := range pipelines {
			if only := os.Getenv("BENCH_ONLY"); only != "" && !strings.Contains(rows[i].name, only) {
				continue
			}
			rows[i].runs = append(rows[i].runs, p())
			rows[i].bytes = cloud.stored
			last := rows[i].runs[len(rows[i].runs)-1]
			b.Logf("%s: %s, %s of CPU, %d MiB of memory, object of %d MiB", rows[i].name, last.time.Round(time.Millisecond), last.cpu.Round(time.Millisecond), last.memory>>20, cloud.stored>>20)
		}
	}
	read := float64(len(cloud.order)) * block / (1 << 20)
	fmt.Printf("\n%.0f MiB in %d blocks, %d rounds in turns, %d processors, TLS over loopback, 30 ms for each request of a block\n\n", read, len(cloud.order), rounds, runtime.NumCPU())
	fmt.Println("| pipeline | median | MiB/s | CPU | peak memory | object | time beside the first | CPU | size |")
	fmt.Println("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	rows = slices.DeleteFunc(rows, func(r row) bool { return len(r.runs) == 0 })
	if len(rows) == 0 {
		b.Fatal("no pipeline has that name")
	}
	for _, r := range rows {
		fmt.Printf("| %s | %.1f s | %.0f | %.1f s | %d MiB | %d MiB | %.2f | %.2f | %.2f |\n", r.name, r.median(), read/r.median(), r.cpu(), r.peak()>>20, r.bytes>>20, r.median()/rows[0].median(), r.cpu()/rows[0].cpu(), float64(r.bytes)/float64(rows[0].bytes))
	}
	b.ReportMetric(read/rows[0].median(), "MiB/s")
}
