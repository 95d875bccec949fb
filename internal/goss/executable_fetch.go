// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Download is where a goss binary is published. This host fetches it, by its own
// proxy and certificates, so that the machine needs neither. What is fetched is
// never used unless it has the digest that was asked for.
type Download struct {
	// URL names a binary, or an archive with one in it.
	URL string
	// SHA256 is the digest that the file behind the URL must have, in hex. It
	// must be set.
	SHA256 string
	// User and Password sign in to the server, if set.
	User, Password string
	// AnyCertificate takes the server for who it says it is. The digest is
	// demanded all the same.
	AnyCertificate bool
	// Cache is the folder in which fetched files are kept; empty: none is.
	Cache string
	// Transport replaces the one that the environment describes.
	Transport http.RoundTripper
}

// Published is where the project of goss publishes its releases.
const Published = "https://github.com/goss-org/goss/releases/download"

// PublishedSHA256 is the digest of the archive of Version that the project of
// goss publishes for an architecture for which the plugin carries no goss;
// empty for any other. It was not taken from the release itself: it is what
// several independent projects pin for that file. Were it another one, nothing
// would be run.
func PublishedSHA256(arch string) string {
	if arch == "amd64" {
		return "26e365428946294bcec0c61d867bb3c8349f39feb3d0e6f59084e98632785cc7"
	}
	return ""
}

// AssetURL is where a release of goss for linux is, below base. The layout
// changed with v0.4.10, from bare binaries to archives. arch is in Go's words.
func AssetURL(base, version, arch string) (string, error) {
	version = strings.TrimPrefix(version, "v")
	parts := strings.Split(version, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("%q is no release of goss, such as 0.4.9", version)
	}
	var n [3]int
	for i, p := range parts {
		p, _, _ = strings.Cut(p, "-") // 0.4.0-rc.1 is taken for what it became
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 {
			return "", fmt.Errorf("%q is no release of goss, such as 0.4.9", version)
		}
		n[i] = v
	}
	name := "goss-linux-" + arch
	if n[0] > 0 || n[1] > 4 || n[1] == 4 && n[2] >= 10 {
		name = fmt.Sprintf("goss_%s_linux_%s.tar.gz", version, map[string]string{"amd64": "x86_64", "arm64": "arm64"}[arch])
	}
	return strings.TrimRight(base, "/") + "/v" + version + "/" + name, nil
}

// TemporaryError is a failure that may not be there a little later.
type TemporaryError struct{ err error }

func (e *TemporaryError) Error() string { return e.err.Error() }
func (e *TemporaryError) Unwrap() error { return e.err }

// Fetch returns the binary, from the cache if it is there.
func (d Download) Fetch(ctx context.Context) (*Executable, error) {
	if len(d.SHA256) != 64 {
		return nil, errors.New("a binary that is fetched needs a SHA-256 to be known by")
	}
	kept := ""
	if d.Cache != "" {
		kept = filepath.Join(d.Cache, "goss-"+strings.ToLower(d.SHA256))
		if data, err := os.ReadFile(kept); err == nil && strings.EqualFold(digestOf(data), d.SHA256) { // #nosec G304 -- its name is a digest
			return fromBytes(data, d.origin(), d.SHA256)
		}
	}
	data, err := d.get(ctx)
	if err != nil {
		return nil, err
	}
	exe, err := fromBytes(data, d.origin(), d.SHA256)
	if err == nil && kept != "" {
		keep(kept, data)
	}
	return exe, err
}

// origin is the URL without what may be secret in it.
func (d Download) origin() string {
	u, err := url.Parse(d.URL)
	if err != nil {
		return "goss_url"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// get downloads the file, at most as much as a binary may have.
func (d Download) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("goss cannot be fetched from %s: no URL", d.origin())
	}
	if d.User != "" {
		req.SetBasicAuth(d.User, d.Password)
	}
	client := &http.Client{Transport: d.transport(), CheckRedirect: onlySafer}
	resp, err := client.Do(req)
	if err != nil {
		var refused *url.Error
		if errors.As(err, &refused) {
			err = refused.Err // the URL may be secret
		}
		said := fmt.Errorf("goss cannot be fetched from %s: %w", d.origin(), err)
		var certificate *tls.CertificateVerificationError
		if errors.As(err, &certificate) || errors.Is(err, errUnsafe) {
			return nil, said // another time it will be the same
		}
		return nil, &TemporaryError{said}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("goss cannot be fetched from %s: the server says %s", d.origin(), resp.Status)
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return nil, &TemporaryError{err}
		}
		return nil, err
	}
	data, err := readAll(resp.Body)
	if err != nil {
		return nil, &TemporaryError{fmt.Errorf("goss cannot be fetched from %s: %w", d.origin(), err)}
	}
	return data, nil
}

func (d Download) transport() http.RoundTripper {
	if d.Transport != nil {
		return d.Transport
	}
	t := http.DefaultTransport.(*http.Transport).Clone() // obeys HTTPS_PROXY and its like
	t.DisableKeepAlives = true                           // there is one request
	if d.AnyCertificate {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // #nosec G402 -- asked for, and the digest decides
	}
	return t
}

// errUnsafe is a redirection that is not followed.
var errUnsafe = errors.New("it is sent")

// onlySafer follows what it is sent to, but never from TLS to none.
func onlySafer(next *http.Request, before []*http.Request) error {
	if len(before) >= 10 {
		return fmt.Errorf("%w from one place to the next without end", errUnsafe)
	}
	if next.URL.Scheme != "https" && before[len(before)-1].URL.Scheme == "https" {
		return fmt.Errorf("%w on to a place without TLS", errUnsafe)
	}
	return nil
}

// keep puts a file into the cache. A cache that cannot be written to costs
// time and nothing else.
func keep(name string, data []byte) {
	if os.MkdirAll(filepath.Dir(name), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".goss-")
	if err != nil {
		return
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}

// unpack finds the binary in what is published: the binary itself, or an
// archive or a compressed file that holds it. A file that is compressed as the
// machine wants it is packed as well.
func unpack(data []byte) (raw, packed []byte, err error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("unpack: %w", err)
	}
	inner, err := readAll(zr)
	if err != nil {
		return nil, nil, fmt.Errorf("unpack: %w", err)
	}
	if bytes.HasPrefix(inner, []byte("\x7fELF")) {
		return inner, data, nil
	}
	tr := tar.NewReader(bytes.NewReader(inner))
	for {
		member, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil, errors.New("the archive holds no file that is called goss")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("unpack: %w", err)
		}
		if member.Typeflag == tar.TypeReg && path.Base(member.Name) == "goss" {
			raw, err := readAll(tr)
			if err != nil {
				return nil, nil, fmt.Errorf("unpack: %w", err)
			}
			return raw, nil, nil
		}
	}
}
