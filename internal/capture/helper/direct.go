// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// dialLimit is how long it may take to reach Object Storage.
	dialLimit = 10 * time.Second
	// partLimit is how long one part may be on its way.
	partLimit = 5 * time.Minute
	// tries is how often a part is sent, before it goes through the plugin.
	tries = 4
)

// direct uploads parts to Object Storage. After the first that does not get there all go
// through the plugin: each of them would cost minutes otherwise.
type direct struct {
	url    string
	client *http.Client
	out    *wire.Writer
	pause  time.Duration // before a part is sent again; it doubles
	limit  time.Duration // of one request
	closed atomic.Bool   // the way does not work
}

// newDirect is sure that Object Storage can be reached. client may be nil.
func newDirect(ctx context.Context, job wire.Job, out *wire.Writer, client *http.Client) (*direct, error) {
	u, err := url.Parse(job.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the URL of the upload is none")
	}
	d := &direct{url: job.URL, out: out, client: client, pause: 2 * time.Second, limit: partLimit}
	if client == nil {
		if d.client, err = newClient(ctx, u, job.CA); err != nil {
			return nil, err
		}
	}
	// Any answer will do: it proves the connection and the certificate.
	ctx, cancel := context.WithTimeout(ctx, 2*dialLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", http.NoBody)
	if err != nil {
		return nil, withoutURL(err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	return d, resp.Body.Close()
}

// newClient makes a client for one host. Its address is looked up now: what looks names
// up may be stopped later.
func newClient(ctx context.Context, u *url.URL, ca string) (*http.Client, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if ca != "" && !pool.AppendCertsFromPEM([]byte(ca)) {
		return nil, errors.New("the certificates that are to be trusted are none")
	}
	dialer := net.Dialer{Timeout: dialLimit}
	probe, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), portOf(u)))
	if err != nil {
		return nil, withoutURL(err)
	}
	address := probe.RemoteAddr().String()
	_ = probe.Close()
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: dialLimit,
			MaxIdleConnsPerHost: uploads, ResponseHeaderTimeout: partLimit,
		},
	}, nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80"}[u.Scheme] + map[string]string{"https": "443"}[u.Scheme]
}

// withoutURL is an error that does not tell the URL, which is a secret.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Part implements diskimage.Sink.
func (d *direct) Part(ctx context.Context, number int, data []byte) error {
	digest := md5.Sum(data) //nolint:gosec // the service's own checksum
	sum := base64.StdEncoding.EncodeToString(digest[:])
	var err error
	for try := 0; try < tries && !d.closed.Load(); try++ {
		if try > 0 {
			if err := wait.Sleep(ctx, d.pause<<(try-1)); err != nil {
				return err
			}
			if d.closed.Load() {
				break
			}
		}
		var etag string
		if etag, err = d.put(ctx, number, data, sum); err == nil {
			return d.out.Message(ctx, wire.Message{Sent: &wire.Sent{Number: number, Size: int64(len(data)), ETag: etag, MD5: sum}})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, new(final)) {
			break
		}
	}
	if !d.closed.Swap(true) {
		if err := d.out.Message(ctx, wire.Message{Say: fmt.Sprintf("Part %d does not get to Object Storage, so what is left goes through this computer: %v", number, err)}); err != nil {
			return err
		}
	}
	return d.out.Part(ctx, number, data)
}

// final is why a part is not sent again: the answer would be the same, or it would take
// as long.
type final struct{ error }

func (d *direct) put(ctx context.Context, number int, data []byte, sum string) (etag string, err error) {
	limited, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPut, d.url+strconv.Itoa(number), bytes.NewReader(data))
	if err != nil {
		return "", withoutURL(err)
	}
	req.Header.Set("Content-MD5", sum)
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := d.client.Do(req)
	if err != nil && limited.Err() != nil {
		return "", final{fmt.Errorf("it was not there after %s", d.limit)}
	}
	if err != nil {
		return "", withoutURL(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("%s: %.300s", resp.Status, body)
		if refused(resp.StatusCode, body) {
			return "", final{err}
		}
		return "", err
	}
	if etag = resp.Header.Get("ETag"); etag == "" {
		return "", errors.New("the answer has no ETag")
	}
	if got := resp.Header.Get("opc-content-md5"); got != "" && got != sum {
		return "", errors.New("it arrived damaged")
	}
	return etag, nil
}

// refused says whether an answer will be the same the next time. A part that was damaged
// on its way is answered as if it were wrong.
func refused(status int, body []byte) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	case http.StatusBadRequest:
		return !bytes.Contains(body, []byte("UnmatchedContentMD5"))
	}
	return status >= 400 && status < 500
}
