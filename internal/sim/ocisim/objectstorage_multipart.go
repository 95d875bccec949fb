// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"cmp"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// maxParts is the highest part number.
const maxParts = 10_000

// upload is a multipart upload that is neither committed nor aborted. Its
// parts take up space until it is one of the two.
type upload struct {
	id      string
	object  string
	created time.Time
	tier    string
	headers http.Header
	parts   map[int]*part
	// committing is set while the parts are being joined, when nothing else
	// may happen to the upload.
	committing bool
	// par is the PAR by which it was begun, if it was, and token that of its own URL.
	par, token string
}

type part struct {
	number int
	etag   string
	blob   *blob
}

type uploadView struct {
	Namespace   string   `json:"namespace"`
	Bucket      string   `json:"bucket"`
	Object      string   `json:"object"`
	UploadID    string   `json:"uploadId"`
	TimeCreated wireTime `json:"timeCreated"`
	StorageTier string   `json:"storageTier"`
}

func (b *bucket) uploadView(u *upload) uploadView {
	return uploadView{b.ref.namespace, b.ref.bucket, u.object, u.id, wireTime{u.created}, u.tier}
}

func (s *objectStore) createUpload(q *call) (*reply, error) {
	var d struct {
		Object             string            `json:"object" oci:"required"`
		ContentType        string            `json:"contentType"`
		ContentLanguage    string            `json:"contentLanguage"`
		ContentEncoding    string            `json:"contentEncoding"`
		ContentDisposition string            `json:"contentDisposition"`
		CacheControl       string            `json:"cacheControl"`
		StorageTier        string            `json:"storageTier"`
		Metadata           map[string]string `json:"metadata"`
	}
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if err := checkObjectName(d.Object); err != nil {
		return nil, err
	}
	if _, err := wantedSums(q.Header); err != nil {
		return nil, err
	}
	tier, err := checkTier(d.StorageTier)
	if err != nil {
		return nil, err
	}
	headers := http.Header{}
	for name, value := range map[string]string{
		"Content-Type": d.ContentType, "Content-Language": d.ContentLanguage, "Content-Encoding": d.ContentEncoding,
		"Content-Disposition": d.ContentDisposition, "Cache-Control": d.CacheControl,
	} {
		if value != "" {
			headers.Set(name, value)
		}
	}
	if err := addMetadata(headers, d.Metadata); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if err := s.checkWrite(objectRef{b.ref, d.Object}, conditionOf(q.Header)); err != nil {
		return nil, err
	}
	u := &upload{id: newETag(), object: d.Object, created: time.Now(), tier: tier, headers: headers, parts: map[int]*part{}}
	b.uploads[u.id] = u
	return ok(b.uploadView(u)).with("Location", "/n/"+b.ref.namespace+"/b/"+b.ref.bucket+"/u/"+u.object), nil
}

// uploadOf is the upload that a request is about. The store's lock is held.
func (s *objectStore) uploadOf(q *call) (*bucket, *upload, error) {
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, nil, err
	}
	u, ok := b.uploads[q.param("uploadId")]
	if !ok || u.object != q.vars["object"] {
		return nil, nil, fail(http.StatusNotFound, "NoSuchUpload",
			"No upload '%s' of the object '%s' in the bucket '%s'", q.param("uploadId"), q.vars["object"], b.ref.bucket)
	}
	return b, u, u.busy()
}

// busy refuses what cannot be done to an upload that is being committed.
func (u *upload) busy() error {
	if u.committing {
		return fail(http.StatusConflict, "ConcurrentCommit", "The upload '%s' is being committed.", u.id)
	}
	return nil
}

func (s *objectStore) uploadPart(q *call) (*reply, error) {
	number, err := strconv.Atoi(q.param("uploadPartNum"))
	if err != nil || number < 1 || number > maxParts {
		return nil, errInvalid("uploadPartNum must be between 1 and %d", maxParts)
	}
	find := func() (*upload, error) {
		_, u, err := s.uploadOf(q)
		return u, err
	}
	return s.receivePart(q, number, find, conditionOf(q.Header))
}

// receivePart takes a part of the upload that find finds.
func (s *objectStore) receivePart(q *call, number int, find func() (*upload, error), cond condition) (*reply, error) {
	check := func() (*upload, error) {
		u, err := find()
		if err != nil {
			return nil, err
		}
		etag := ""
		if old := u.parts[number]; old != nil {
			etag = old.etag
		}
		return u, cond.check(etag)
	}
	s.mu.Lock()
	_, err := check()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	blob, err := s.receive(q)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := check() // it may have been aborted meanwhile
	if err != nil {
		blob.discard()
		return nil, err
	}
	if old := u.parts[number]; old != nil {
		old.blob.discard()
	}
	p := &part{number: number, etag: newETag(), blob: blob}
	u.parts[number] = p
	result := (&reply{}).with("Etag", p.etag).with("Opc-Content-Md5", blob.md5Base64())
	for name, sum := range blob.sums {
		result.with(name, sum)
	}
	return result, nil
}

// commitDetails is CommitMultipartUpload's body.
type commitDetails struct {
	PartsToCommit  []partToCommit `json:"partsToCommit" oci:"required"`
	PartsToExclude []int          `json:"partsToExclude"`
}

type partToCommit struct {
	PartNum int    `json:"partNum" oci:"required"`
	ETag    string `json:"etag" oci:"required"`
}

func (s *objectStore) commitUpload(q *call) (*reply, error) {
	var d commitDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	find := func() (*bucket, *upload, error) { return s.uploadOf(q) }
	return s.commit(find, func(*upload) commitDetails { return d }, conditionOf(q.Header))
}

// commit makes the object of the upload that find finds.
func (s *objectStore) commit(find func() (*bucket, *upload, error), details func(*upload) commitDetails, cond condition) (*reply, error) {
	s.mu.Lock()
	b, u, err := find()
	var parts []*part
	if err == nil {
		err = s.checkWrite(objectRef{b.ref, u.object}, cond)
	}
	if err == nil {
		parts, err = u.choose(b.ref, details(u), s.cloud.cfg.MinPartSize)
	}
	if err == nil {
		u.committing = true
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// Joining large parts takes a while: without the lock.
	ref := objectRef{b.ref, u.object}
	o, err := s.join(u, parts)
	if err == nil {
		err = s.store(ref, o, cond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.committing = false
	if err != nil {
		return nil, err
	}
	b.drop(u)
	return (&reply{}).with("Etag", o.etag).with("Opc-Multipart-Md5", o.multipartMD5).with("Last-Modified", httpTime(o.modified)), nil
}

// drop forgets an upload and its parts.
func (b *bucket) drop(u *upload) {
	u.discard()
	delete(b.uploads, u.id)
}

// choose picks the parts of the object in order. Every part that was uploaded
// must be named as one to commit or one to exclude, with its current etag, and
// only the last may be small.
func (u *upload) choose(ref bucketRef, d commitDetails, minSize int64) ([]*part, error) {
	invalid := fail(http.StatusBadRequest, "InvalidUploadPart",
		"There were some invalid part (partNum/etag) combination for the upload UploadKey{objectKey=ObjectKey{bucket=BucketKey{namespace='%s', name='%s'}, name='%s'}, uploadId='%s'}",
		ref.namespace, ref.bucket, u.object, u.id)
	named := map[int]bool{}
	var chosen []*part
	for _, want := range d.PartsToCommit {
		p := u.parts[want.PartNum]
		if p == nil || p.etag != want.ETag || named[want.PartNum] {
			return nil, invalid
		}
		named[want.PartNum] = true
		chosen = append(chosen, p)
	}
	for _, number := range d.PartsToExclude {
		if u.parts[number] == nil || named[number] {
			return nil, invalid
		}
		named[number] = true
	}
	if len(chosen) == 0 || len(named) != len(u.parts) {
		return nil, invalid
	}
	slices.SortFunc(chosen, func(a, b *part) int { return cmp.Compare(a.number, b.number) })
	for _, p := range chosen[:len(chosen)-1] {
		if p.blob.size < minSize {
			return nil, fail(http.StatusBadRequest, "InvalidUploadPart",
				"Part %d has %d bytes; every part but the last must have at least %d", p.number, p.blob.size, minSize)
		}
	}
	return chosen, nil
}

// join makes one object out of parts.
func (s *objectStore) join(u *upload, parts []*part) (*object, error) {
	w, err := s.newBlob(http.Header{})
	if err != nil {
		return nil, err
	}
	digests := md5.New() //nolint:gosec // the service's own checksum
	for _, p := range parts {
		if err := appendFile(w, p.blob.path); err != nil {
			w.abandon()
			return nil, err
		}
		digests.Write(p.blob.md5)
	}
	joined, err := w.finish()
	if err != nil {
		return nil, err
	}
	return &object{
		name: u.object, blob: joined, tier: u.tier, headers: u.headers,
		multipartMD5: base64.StdEncoding.EncodeToString(digests.Sum(nil)) + "-" + strconv.Itoa(len(parts)),
	}, nil
}

func appendFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open a part: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("join the parts: %w", err)
	}
	return nil
}

// discard removes the bytes of all parts.
func (u *upload) discard() {
	for _, p := range u.parts {
		p.blob.discard()
	}
}

func (s *objectStore) abortUpload(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, u, err := s.uploadOf(q)
	if err != nil {
		return nil, err
	}
	b.drop(u)
	return noContent(), nil
}

func (s *objectStore) listUploads(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	var list []uploadView
	for _, u := range b.uploads {
		list = append(list, b.uploadView(u))
	}
	slices.SortFunc(list, func(a, b uploadView) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.UploadID, b.UploadID))
	})
	return paginate(q, list)
}

func (s *objectStore) listParts(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, u, err := s.uploadOf(q)
	if err != nil {
		return nil, err
	}
	type partView struct {
		ETag       string `json:"etag"`
		MD5        string `json:"md5"`
		Size       int64  `json:"size"`
		PartNumber int    `json:"partNumber"`
	}
	var list []partView
	for _, p := range u.parts {
		list = append(list, partView{p.etag, p.blob.md5Base64(), p.blob.size, p.number})
	}
	slices.SortFunc(list, func(a, b partView) int { return cmp.Compare(a.PartNumber, b.PartNumber) })
	return paginate(q, list)
}
