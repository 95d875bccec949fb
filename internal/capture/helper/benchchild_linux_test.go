// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime/pprof"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// benchChild is the environment variable that makes this test a part of a measured
// pipeline: what it is to do, and with what, a line each. BENCH_PROFILE is a file for a
// profile of the helper.
const benchChild = "ARMFREE_BENCH_CHILD"

func TestMain(m *testing.M) {
	what := os.Getenv(benchChild)
	if what == "" {
		os.Exit(m.Run())
	}
	if err := child(strings.Split(what, "\n")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(what []string) error {
	ctx := context.Background()
	switch {
	case what[0] == "helper" && len(what) == 2:
		return helperChild(ctx, what[1])
	case what[0] == "plugin" && len(what) == 7:
		return pluginChild(ctx, what[1], what[2], what[3], what[4], what[5], what[6])
	case what[0] == "upload" && len(what) == 4:
		return uploadChild(ctx, what[1], what[2], what[3])
	}
	return fmt.Errorf("%q is nothing to do", what)
}

// helperChild is the helper, with a file for the machine's disk: nothing is done to this
// machine.
func helperChild(ctx context.Context, disk string) error {
	if path := os.Getenv("BENCH_PROFILE"); path != "" {
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
	h := Helper{In: os.Stdin, Out: os.Stdout, Quiet: func(context.Context, wire.Job, func(string, ...any)) (*Quiet, error) {
		f, err := os.OpenFile(disk, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return nil, err
		}
		i, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return &Quiet{Path: disk, Size: i.Size(), Disk: &direct4k{file: f}, Written: func() (int64, error) { return 0, nil }, Close: f.Close}, nil
	}}
	return h.Run(ctx)
}

// pluginChild is the plugin's end of a capture, on a connection as Packer's is.
func pluginChild(ctx context.Context, route, address, keyFile, disk, store, ca string) error {
	pem, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	conn, err := ssh.Dial("tcp", address, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}) //nolint:gosec // on loopback
	if err != nil {
		return err
	}
	defer conn.Close()
	command, err := conn.NewSession()
	if err != nil {
		return err
	}
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	var said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = stdin, stdout, &said
	if err := command.Start(fmt.Sprintf("BENCH_PROFILE='%s' %s='helper\n%s' '%s' '-test.run=^$'; %s", os.Getenv("BENCH_PROFILE"), benchChild, disk, os.Args[0], wire.EndCommand)); err != nil {
		return err
	}
	s, err := capture.Attach(ctx, in, out)
	if err != nil {
		return err
	}
	to, err := newBenchObject(ctx, route == "direct", store, ca)
	if err != nil {
		return err
	}
	job := wire.Job{Compression: diskimage.Zstd, Metadata: diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"}}
	r, err := s.Run(ctx, job, to, capture.Listener{Say: func(string, ...any) {}})
	if err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	if (r.Relayed == 0) != (route == "direct") {
		return fmt.Errorf("%d parts came through this computer", r.Relayed)
	}
	return command.Wait() // so that what it took is known
}

// benchObject is an object to which parts are uploaded by a link, with their checksums.
type benchObject struct {
	link, ca string
	direct   bool // the machine may do it
	client   *http.Client
}

func newBenchObject(ctx context.Context, direct bool, link, caFile string) (*benchObject, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(link)
	if err != nil {
		return nil, err
	}
	client, err := newClient(ctx, u, string(pem))
	return &benchObject{link, string(pem), direct, client}, err
}

func (*benchObject) Arrived(int, int64, string, string) {}

func (o *benchObject) Direct() (link, ca string) {
	if !o.direct {
		return "", ""
	}
	return o.link, o.ca
}

func (o *benchObject) Part(ctx context.Context, number int, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprint(o.link, number), bytes.NewReader(data))
	if err != nil {
		return err
	}
	sum := md5.Sum(data) //nolint:gosec // the service's own checksum
	req.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("part %d: %s", number, resp.Status)
	}
	return nil
}

// uploadChild uploads a file.
func uploadChild(ctx context.Context, path, link, ca string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := newBenchObject(ctx, false, link, ca)
	if err != nil {
		return err
	}
	parts, err := diskimage.NewParts(to, diskimage.MinPart, uploads)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		if errors.Is(err, io.EOF) {
			return parts.Finish(ctx, nil)
		}
		if err == nil {
			err = parts.Write(ctx, buf[:n])
		}
		if err != nil {
			return err
		}
	}
}
