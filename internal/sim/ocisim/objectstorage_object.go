// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// put is what PutObject and a PAR's PUT have in common. What can be refused
// without the body is refused before it is read, which is what a client that
// sends "Expect: 100-continue" waits for.
func (s *objectStore) put(q *call, ref objectRef) (*reply, error) {
	if err := checkObjectName(ref.object); err != nil {
		return nil, err
	}
	headers, tier, err := contentHeaders(q.Header)
	if err != nil {
		return nil, err
	}
	cond := conditionOf(q.Header)
	s.mu.Lock()
	err = s.checkWrite(ref, cond)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	b, err := s.receive(q)
	if err != nil {
		return nil, err
	}
	o := &object{name: ref.object, blob: b, tier: tier, headers: headers}
	if err := s.store(ref, o, cond); err != nil {
		return nil, err
	}
	result := (&reply{}).with("Etag", o.etag).with("Opc-Content-Md5", b.md5Base64()).with("Last-Modified", httpTime(o.modified))
	for name, sum := range b.sums {
		result.with(name, sum)
	}
	return result, nil
}

// checkWrite tells whether an object may be written. The store's lock is held.
func (s *objectStore) checkWrite(ref objectRef, cond condition) error {
	b, ok := s.buckets[ref.bucketRef]
	if !ok {
		return errBucketNotFound(ref.bucketRef)
	}
	etag := ""
	if old := b.objects[ref.object]; old != nil {
		etag = old.etag
	}
	return cond.check(etag)
}

// store makes an object visible, in place of an older one. The bucket may be
// gone and the condition may have ceased to hold since the upload began; then
// the bytes are discarded.
func (s *objectStore) store(ref objectRef, o *object, cond condition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWrite(ref, cond); err != nil {
		o.blob.discard()
		return err
	}
	b := s.buckets[ref.bucketRef]
	o.etag, o.modified = newETag(), time.Now()
	o.created = o.modified
	if old := b.objects[ref.object]; old != nil {
		o.created = old.created
		old.blob.discard()
	}
	b.objects[ref.object] = o
	return nil
}

// contentHeaders picks what the service keeps of a request's headers.
func contentHeaders(h http.Header) (kept http.Header, tier string, err error) {
	kept = http.Header{}
	for name, values := range h {
		lower := strings.ToLower(name)
		switch {
		case len(values) == 0 || values[0] == "":
			// Some SDKs send headers for options that nobody has set.
		case strings.HasPrefix(lower, "opc-meta-"):
			kept.Set(name, values[0])
		case strings.HasPrefix(lower, "opc-sse-"):
			return nil, "", errInvalid("Encryption with the customer's key (%s) is not simulated", lower)
		case lower == "storage-tier":
			tier = values[0]
		case lower == "content-type" || lower == "content-language" || lower == "content-encoding" ||
			lower == "content-disposition" || lower == "cache-control":
			kept.Set(name, values[0])
		}
	}
	tier, err = checkTier(tier)
	return kept, tier, err
}

// addMetadata adds the metadata of a JSON body, whose keys carry the prefix of
// the headers they become.
func addMetadata(headers http.Header, metadata map[string]string) error {
	for name, value := range metadata {
		if !strings.HasPrefix(strings.ToLower(name), "opc-meta-") {
			return errInvalid("The metadata key %q does not begin with opc-meta-", name)
		}
		headers.Set(name, value)
	}
	return nil
}

func checkTier(tier string) (string, error) {
	switch tier {
	case "":
		return "Standard", nil
	case "Standard", "InfrequentAccess":
		return tier, nil
	default:
		return "", errInvalid("The storage tier %q is not simulated", tier)
	}
}

// find returns an object for reading. The store's lock is held.
func (s *objectStore) find(ref objectRef) (*object, error) {
	b, ok := s.buckets[ref.bucketRef]
	if !ok {
		return nil, errBucketNotFound(ref.bucketRef)
	}
	o, ok := b.objects[ref.object]
	if !ok {
		return nil, errObjectNotFound(ref)
	}
	return o, nil
}

// get is what GetObject and a PAR's GET have in common.
func (s *objectStore) get(q *call, ref objectRef) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	if notModified, err := readCondition(q.Header, o.etag); notModified != nil || err != nil {
		return notModified, err
	}
	first, length, partial, err := parseRange(q.Header.Get("Range"), o.blob.size)
	if err != nil {
		return nil, err
	}
	// Opened under the lock: the object's next version removes the file.
	file, err := os.Open(o.blob.path)
	if err != nil {
		return nil, fmt.Errorf("open an object: %w", err)
	}
	result := o.describe()
	result.stream, result.length = section{io.NewSectionReader(file, first, length), file}, length
	result.contentType = result.header.Get("Content-Type")
	if partial {
		result.status = http.StatusPartialContent
		result.with("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+length-1, o.blob.size))
	}
	return result, nil
}

type section struct {
	io.Reader
	io.Closer
}

// head is what HeadObject and a PAR's HEAD have in common.
func (s *objectStore) head(q *call, ref objectRef) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	if notModified, err := readCondition(q.Header, o.etag); notModified != nil || err != nil {
		return notModified, err
	}
	return o.describe().with("Content-Length", strconv.FormatInt(o.blob.size, 10)), nil
}

// describe makes the headers that an object is read with.
func (o *object) describe() *reply {
	result := (&reply{header: o.headers.Clone()}).
		with("Etag", o.etag).with("Last-Modified", httpTime(o.modified)).
		with("Accept-Ranges", "bytes").with("Storage-Tier", o.tier)
	if result.header.Get("Content-Type") == "" {
		result.with("Content-Type", "application/octet-stream")
	}
	if o.multipartMD5 != "" {
		result.with("Opc-Multipart-Md5", o.multipartMD5)
	} else {
		result.with("Content-Md5", o.blob.md5Base64())
	}
	for name, sum := range o.blob.sums {
		result.with(name, sum)
	}
	return result
}

// readCondition is condition.check for reading, where a copy that the client
// already has is no failure.
func readCondition(h http.Header, etag string) (*reply, error) {
	cond := conditionOf(h)
	if err := (condition{match: cond.match}).check(etag); err != nil {
		return nil, err
	}
	if cond.noneMatch == "*" || cond.noneMatch == etag {
		return (&reply{status: http.StatusNotModified}).with("Etag", etag), nil
	}
	return nil, nil
}

// parseRange understands the one form of range that the service supports: a
// single one, counted from the start or from the end.
func parseRange(header string, size int64) (first, length int64, partial bool, err error) {
	if header == "" {
		return 0, size, false, nil
	}
	bad := fail(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range %q cannot be served from %d bytes.", header, size)
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return 0, 0, false, bad
	}
	if from == "" { // the last so many bytes
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n <= 0 || size == 0 {
			return 0, 0, false, bad
		}
		n = min(n, size)
		return size - n, n, true, nil
	}
	first, err = strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 || first >= size {
		return 0, 0, false, bad
	}
	last := size - 1
	if to != "" {
		if last, err = strconv.ParseInt(to, 10, 64); err != nil || last < first {
			return 0, 0, false, bad
		}
		last = min(last, size-1)
	}
	return first, last - first + 1, true, nil
}

// objectOf names the object that a signed request is about.
func objectOf(q *call) (objectRef, error) {
	if err := ownNamespace(q); err != nil {
		return objectRef{}, err
	}
	return objectRef{bucketRef{q.region().name, q.vars["namespace"], q.vars["bucket"]}, q.vars["object"]}, nil
}

func (s *objectStore) putObject(q *call) (*reply, error) {
	ref, err := objectOf(q)
	if err != nil {
		return nil, err
	}
	return s.put(q, ref)
}

func (s *objectStore) getObject(q *call) (*reply, error) {
	ref, err := objectOf(q)
	if err != nil {
		return nil, err
	}
	return s.get(q, ref)
}

func (s *objectStore) headObject(q *call) (*reply, error) {
	ref, err := objectOf(q)
	if err != nil {
		return nil, err
	}
	return s.head(q, ref)
}

func (s *objectStore) deleteObject(q *call) (*reply, error) {
	ref, err := objectOf(q)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	if err := conditionOf(q.Header).check(o.etag); err != nil {
		return nil, err
	}
	delete(s.buckets[ref.bucketRef].objects, ref.object)
	o.blob.discard()
	return noContent().with("Last-Modified", httpTime(time.Now())), nil
}
