// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package imagefile opens the image files of people who bring their own: Debian's
// cloud image, say, from a folder or from a URL.
//
// A file is used only if it has the digest that was asked for, and that is known before
// its first byte is interpreted. A qcow2 file is read in no particular order, so one
// that comes from a URL is kept in a temporary file meanwhile. A download that breaks
// off goes on where it was, if the server can do that.
package imagefile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// Options say which image.
type Options struct {
	File string // a path; or
	URL  string // an http or https URL
	// Checksum is "sha256:" or "sha512:" and the digest of the file in hexadecimal; the
	// name may be left out. Of a file of one's own see [Digest].
	Checksum string
	// Computed says that Checksum is what Digest said of the file, and that nobody else
	// has: a file that has another one by now has changed.
	Computed bool
	// Limit is how long the file may be, in bytes; 0 is no limit. A longer one is a
	// *[TooLargeError], as soon as that shows: of a download with its first answer, or
	// else with the first byte that is too many.
	Limit int64

	// HTTP makes the requests; default: a client that obeys the proxies of the
	// environment.
	HTTP *http.Client
	// Dir is where a download is kept meanwhile; default: the folder for temporary
	// files.
	Dir string
	// Progress is told of each part of a download that has come: bytes so far, and of how
	// many, or 0 if that is not known. It must not take long.
	Progress func(done, of int64)
}

// TooLargeError says that the file is longer than [Options.Limit].
type TooLargeError struct {
	Size  int64 // of the file, in bytes; 0 if that is not known
	Limit int64
}

func (e *TooLargeError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("the file has more than %d bytes, which is the limit", e.Limit)
	}
	return fmt.Sprintf("the file has %d bytes, and the limit is %d", e.Size, e.Limit)
}

// tooLarge says that a file of so many bytes is too long, or that it is not.
func (o Options) tooLarge(size int64) error {
	if o.Limit > 0 && size > o.Limit {
		return &TooLargeError{Size: size, Limit: o.Limit}
	}
	return nil
}

// Mistakes are all that is wrong with the options, in the words of a template.
func (o Options) Mistakes() (errs []error) {
	switch {
	case o.File == "" && o.URL == "":
		errs = append(errs, errors.New("source_file or source_url must be set"))
	case o.File != "" && o.URL != "":
		errs = append(errs, errors.New("only one of source_file and source_url can be set"))
	}
	if o.URL != "" {
		if u, err := url.Parse(o.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, errors.New("source_url must be an http or https URL"))
		}
	}
	if _, _, err := parseChecksum(o.Checksum); err != nil && (o.Checksum != "" || o.File == "") {
		errs = append(errs, err)
	}
	return errs
}

// Digest computes the checksum of a file.
func Digest(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file) //nolint:gosec // whoever writes the template runs the build
	if err != nil {
		return "", fmt.Errorf("source_file: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, reader{ctx, f}); err != nil {
		return "", fmt.Errorf("source_file: read %s: %w", file, err)
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}

// ID is the checksum in the one form in which equal ones are equal.
func (o Options) ID() (string, error) {
	want, h, err := parseChecksum(o.Checksum)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("sha%d:%x", 8*h.Size(), want), nil
}

// Name is what the image is called: the last part of the path or URL, without its
// ending.
func (o Options) Name() string {
	name := filepath.Base(o.File)
	if u, err := url.Parse(o.URL); o.URL != "" && err == nil {
		name = path.Base(u.Path)
	}
	return strings.TrimSuffix(name, path.Ext(name))
}

// Place is where the image is, without what may be secret of a URL.
func (o Options) Place() string { return cmp.Or(o.File, redacted(o.URL)) }

// parseChecksum is the digest that is wanted, and what computes it.
func parseChecksum(text string) (want []byte, h hash.Hash, err error) {
	kind, digits, named := strings.Cut(text, ":")
	if !named {
		kind, digits = "", text
	}
	kind = strings.ToLower(strings.TrimSpace(kind))
	want, err = hex.DecodeString(strings.TrimSpace(digits))
	switch {
	case err == nil && len(want) == sha256.Size && (kind == "" || kind == "sha256"):
		return want, sha256.New(), nil
	case err == nil && len(want) == sha512.Size && (kind == "" || kind == "sha512"):
		return want, sha512.New(), nil
	}
	return nil, nil, errors.New("source_checksum must be \"sha256:\" or \"sha512:\" and the file's digest in hexadecimal, as in the SHA512SUMS beside the image")
}

// Image is a disk that is read from a file.
type Image struct {
	diskimage.Source
	Length int64 // of the file, in bytes
	file   *os.File
	was    os.FileInfo // before the digest was computed; nil of a download
	temp   bool
}

// Unchanged fails if the file is not what it was when its digest was computed, as far as
// its length and the time of its last change say: it is read once more after that, for as
// long as its bytes are used. A file that was put in its place is another one, and not
// read.
func (i *Image) Unchanged() error {
	if i.was == nil {
		return nil
	}
	is, err := i.file.Stat()
	if err != nil {
		return fmt.Errorf("source_file: %w", err)
	}
	if is.Size() != i.was.Size() || !is.ModTime().Equal(i.was.ModTime()) {
		return changed(i.file.Name(), fmt.Sprintf(" (%d bytes of %s, and now %d of %s)", i.was.Size(), stamp(i.was), is.Size(), stamp(is)))
	}
	return nil
}

func changed(name, how string) error {
	return fmt.Errorf("source_file: %s changed while it was read%s, so that what was read of it is of no use; copy it once nothing writes to it any more", name, how)
}

func stamp(i os.FileInfo) string { return i.ModTime().UTC().Format("2006-01-02 15:04:05.000 MST") }

// Close closes the file, and removes it if it was downloaded.
func (i *Image) Close() error {
	err := i.file.Close()
	if i.temp {
		err = errors.Join(err, os.Remove(i.file.Name()))
	}
	return err
}

// Open finds the image, checks its digest, and opens it.
func Open(ctx context.Context, o Options) (_ *Image, err error) {
	if errs := o.Mistakes(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	want, sum, err := parseChecksum(o.Checksum)
	if err != nil {
		return nil, err
	}
	i := &Image{temp: o.URL != ""}
	defer func() {
		if err != nil && i.file != nil {
			err = errors.Join(err, i.Close())
		}
	}()
	name := o.Place()
	if o.URL != "" {
		if i.file, err = os.CreateTemp(o.Dir, "armfree-image-*"); err != nil {
			return nil, fmt.Errorf("source_url: %w", err)
		}
		// Where the system allows it the file has no name from now on, and is gone with
		// this process, however that ends.
		i.temp = os.Remove(i.file.Name()) != nil
		err = download(ctx, o, i.file, sum)
	} else {
		if i.file, err = os.Open(o.File); err != nil {
			return nil, fmt.Errorf("source_file: %w", err)
		}
		if i.was, err = i.file.Stat(); err == nil {
			err = o.tooLarge(i.was.Size())
		}
		if err == nil {
			_, err = io.Copy(sum, reader{ctx, i.file})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	switch got := sum.Sum(nil); {
	case string(got) == string(want):
	case o.Computed && o.URL == "":
		return nil, changed(name, "")
	default:
		return nil, fmt.Errorf("%s is not the image that source_checksum is of: its digest is %x; get the image again, or the checksum that belongs to it", name, got)
	}
	info, err := i.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	i.Length = info.Size()
	if i.Source, err = diskimage.Open(i.file, i.Length); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i, nil
}

// redacted is a URL without what may be secret in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the image"
	}
	u.RawQuery, u.User, u.Fragment = "", nil, ""
	return u.String()
}

// reader reads until ctx ends.
type reader struct {
	ctx context.Context //nolint:containedctx // io.Copy has no other way
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
