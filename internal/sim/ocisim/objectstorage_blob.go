// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/md5" //nolint:gosec // the service's own checksum
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// blob is bytes that arrived whole: a file and its digests.
type blob struct {
	path string
	size int64
	md5  []byte
	// sums are the further checksums that the client asked for, by header
	// name such as Opc-Content-Sha256.
	sums map[string]string
}

func (b *blob) md5Base64() string { return base64.StdEncoding.EncodeToString(b.md5) }

// discard removes the bytes. Readers that have the file open keep it.
func (b *blob) discard() { _ = os.Remove(b.path) }

// blobWriter takes in the bytes of a blob.
type blobWriter struct {
	file *os.File
	size int64
	md5  hash.Hash
	sums map[string]hash.Hash
}

func (s *objectStore) newBlob(headers http.Header) (*blobWriter, error) {
	sums, err := wantedSums(headers)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(s.dir, randomHex(16)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a file for an object: %w", err)
	}
	return &blobWriter{file: file, md5: md5.New(), sums: sums}, nil //nolint:gosec // the service's own checksum
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.size += int64(n)
	w.md5.Write(p[:n])
	for _, h := range w.sums {
		h.Write(p[:n])
	}
	return n, err
}

func (w *blobWriter) abandon() {
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
}

func (w *blobWriter) finish() (*blob, error) {
	if err := w.file.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("write an object: %w", err), os.Remove(w.file.Name()))
	}
	b := &blob{path: w.file.Name(), size: w.size, md5: w.md5.Sum(nil), sums: map[string]string{}}
	for name, h := range w.sums {
		b.sums[name] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return b, nil
}

// receive stores a request's body after comparing it with the checksums that
// the client sent along. Nothing is kept of a body that was cut off.
func (s *objectStore) receive(q *call) (*blob, error) {
	w, err := s.newBlob(q.Header)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(w, q.Body)
	if err != nil || (q.ContentLength >= 0 && n != q.ContentLength) {
		w.abandon()
		return nil, fail(http.StatusBadRequest, "RequestBodyIncomplete", "The request body ended after %d bytes.", n)
	}
	b, err := w.finish()
	if err != nil {
		return nil, err
	}
	if err := b.compare(q.Header); err != nil {
		b.discard()
		return nil, err
	}
	return b, nil
}

// The checksums beside MD5 that a client may name or send.
func sumHeaders() map[string]string {
	return map[string]string{"CRC32C": "Opc-Content-Crc32c", "SHA256": "Opc-Content-Sha256", "SHA384": "Opc-Content-Sha384"}
}

func wantedSums(h http.Header) (map[string]hash.Hash, error) {
	algorithm := h.Get("Opc-Checksum-Algorithm")
	if _, known := sumHeaders()[algorithm]; algorithm != "" && !known {
		return nil, errInvalid("Unknown opc-checksum-algorithm %q", algorithm)
	}
	sums := map[string]hash.Hash{}
	for name, header := range sumHeaders() {
		if h.Get(header) == "" && name != algorithm {
			continue
		}
		switch name {
		case "CRC32C":
			sums[header] = crc32.New(crc32.MakeTable(crc32.Castagnoli))
		case "SHA256":
			sums[header] = sha256.New()
		case "SHA384":
			sums[header] = sha512.New384()
		}
	}
	return sums, nil
}

func (b *blob) compare(h http.Header) error {
	if sent := h.Get("Content-Md5"); sent != "" && sent != b.md5Base64() {
		return fail(http.StatusBadRequest, "UnmatchedContentMD5",
			"The computed MD5 of the request body (%s) does not match the Content-MD5 header (%s)", b.md5Base64(), sent)
	}
	for _, header := range sumHeaders() {
		if sent := h.Get(header); sent != "" && sent != b.sums[header] {
			return fail(http.StatusBadRequest, "UnmatchedContentChecksum",
				"The computed checksum of the request body (%s) does not match the %s header (%s)",
				b.sums[header], strings.ToLower(header), sent)
		}
	}
	return nil
}
