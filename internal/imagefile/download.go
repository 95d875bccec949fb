// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagefile

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// patience is how long a download is tried again that gets nowhere.
	patience = 5 * time.Minute
	// idle is how long a connection may be silent.
	idle = time.Minute
	// maxFile is more than any image that can be imported has, in bytes.
	maxFile = 1 << 40
	// maxRedirects is how many are followed, as Go's own client does it.
	maxRedirects = 10
)

// fetch is one download, over as many requests as it takes.
type fetch struct {
	options Options
	file    *os.File
	sum     hash.Hash
	done    int64
	total   int64  // 0: not known
	most    int64  // that done ever was
	tag     string // of the version that is being downloaded
	moved   time.Time
	heard   atomic.Int64 // bytes, for the watch
}

// permanent is an answer that will be the same the next time.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// passing says that there may be an answer the next time that there was none. What the
// name, the certificate or the kind of the server is does not change by itself; but once
// something has come, it is more likely that a resolver or a proxy is at fault for a while.
func (f *fetch) passing(err error) bool {
	var dns *net.DNSError
	switch {
	case errors.As(err, new(permanent)):
		return false
	case f.most > 0:
		return true
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return !errors.As(err, new(*tls.CertificateVerificationError)) && !errors.As(err, new(tls.RecordHeaderError))
}

// following is the client with redirects that end: a server that has led nowhere leads
// nowhere the next time.
func following(client *http.Client) *http.Client {
	c := *cmp.Or(client, &http.Client{})
	follow := c.CheckRedirect
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch {
		case req.URL.Scheme != "http" && req.URL.Scheme != "https":
			return permanent{fmt.Errorf("the server redirects to something that is neither http nor https (%s)", req.URL.Scheme)}
		case len(via) > maxRedirects:
			return permanent{fmt.Errorf("the server redirects more than %d times", maxRedirects)}
		case follow != nil:
			return follow(req, via)
		}
		return nil
	}
	return &c
}

func download(ctx context.Context, o Options, file *os.File, sum hash.Hash) error {
	f := &fetch{options: o, file: file, sum: sum, moved: time.Now()}
	l := wait.Loop{What: "the image", Pace: wait.Backoff, Tolerate: func(err error) bool {
		return f.passing(err) && time.Since(f.moved) < patience
	}}
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		err := f.attempt(ctx)
		return err == nil, err
	})
}

// attempt asks for what is missing, and takes what comes.
func (f *fetch) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.options.URL, nil)
	if err != nil {
		return permanent{errors.New("source_url is not a URL")}
	}
	if f.done > 0 && f.tag != "" {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(f.done, 10)+"-")
		req.Header.Set("If-Range", f.tag)
	}
	go f.watch(ctx, cancel)
	resp, err := following(f.options.HTTP).Do(req)
	if err != nil {
		return cause(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && f.done > 0 && strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(f.done, 10)+"-"):
	case resp.StatusCode == http.StatusOK:
		if err := f.restart(resp); err != nil {
			return permanent{err}
		}
	case resp.StatusCode == http.StatusPartialContent:
		f.tag = "" // from the beginning: this server's ranges are of no use
		return fmt.Errorf("the server sent %q in place of what is missing", resp.Header.Get("Content-Range"))
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("the server answered %s", resp.Status)
	default:
		return permanent{fmt.Errorf("the server answered %s", resp.Status)}
	}
	return cause(ctx, f.take(resp.Body))
}

// restart begins with the first byte.
func (f *fetch) restart(resp *http.Response) error {
	if err := f.options.tooLarge(resp.ContentLength); err != nil {
		return err
	}
	if resp.ContentLength > maxFile {
		return fmt.Errorf("the file has %d bytes, more than any image that can be imported", resp.ContentLength)
	}
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := f.file.Truncate(0); err != nil {
		return err
	}
	f.sum.Reset()
	f.done, f.total = 0, max(0, resp.ContentLength)
	// A weak tag does not promise the same bytes.
	if f.tag = resp.Header.Get("Etag"); f.tag == "" || strings.HasPrefix(f.tag, "W/") {
		f.tag = resp.Header.Get("Last-Modified")
	}
	return nil
}

// take writes what comes to the file.
func (f *fetch) take(body io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := f.file.Write(buf[:n]); werr != nil {
				return permanent{werr}
			}
			f.sum.Write(buf[:n])
			f.done += int64(n)
			f.heard.Add(int64(n))
			if f.done > f.most { // what was there already is no progress
				f.most, f.moved = f.done, time.Now()
			}
			if f.options.Progress != nil {
				f.options.Progress(f.done, f.total)
			}
		}
		switch {
		case f.options.Limit > 0 && f.done > f.options.Limit:
			return permanent{&TooLargeError{Limit: f.options.Limit}}
		case f.done > maxFile:
			return permanent{errors.New("the file does not end")}
		case errors.Is(err, io.EOF) && f.total > 0 && f.done < f.total:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

var errSilent = errors.New("the server is silent")

// watch ends a connection that is silent.
func (f *fetch) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		before := f.heard.Load()
		if wait.Sleep(ctx, idle) != nil {
			return
		}
		if f.heard.Load() == before {
			cancel(errSilent)
			return
		}
	}
}

// cause is an error without the URL, and with the reason that it was cut short.
func cause(ctx context.Context, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}
