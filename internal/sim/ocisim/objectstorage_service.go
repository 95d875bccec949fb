// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"
)

// This file is what the rest of the cloud sees of Object Storage: the way in
// and out for exports and imports that name a bucket instead of a URL, and the
// list of what is left.

// objectReader reads an object as it was when it was opened, whatever becomes
// of it meanwhile.
type objectReader struct {
	*os.File
	size int64
}

// open opens an object's bytes. The store's lock is held, so that the file
// cannot be replaced in between.
func (o *object) open() (*objectReader, error) {
	f, err := os.Open(o.blob.path)
	if err != nil {
		return nil, fmt.Errorf("open an object: %w", err)
	}
	return &objectReader{File: f, size: o.blob.size}, nil
}

// openObject opens an object for reading. Errors are those that a client would
// get: NamespaceNotFound is not among them, since only the caller can tell
// whose namespace it asks for.
func (s *objectStore) openObject(ref objectRef) (*objectReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	return o.open()
}

// checkBucket tells whether a bucket exists.
func (s *objectStore) checkBucket(ref bucketRef) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buckets[ref]; !ok {
		return errBucketNotFound(ref)
	}
	return nil
}

// writeObject stores what write produces as an object. Nothing becomes visible
// before write has returned nil, and nothing is kept if it fails.
func (s *objectStore) writeObject(ref objectRef, write func(io.Writer) error) error {
	if err := checkObjectName(ref.object); err != nil {
		return err
	}
	if err := s.checkBucket(ref.bucketRef); err != nil {
		return err
	}
	w, err := s.newBlob(http.Header{})
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		w.abandon()
		return err
	}
	b, err := w.finish()
	if err != nil {
		return err
	}
	return s.store(ref, &object{name: ref.object, blob: b, tier: "Standard", headers: http.Header{}}, condition{})
}

// StoredBucket is a bucket in an inventory.
type StoredBucket struct {
	Name    string         `json:"name"`
	Objects []StoredObject `json:"objects"`
	Uploads []StoredUpload `json:"multipartUploads"`
	PARs    []StoredPAR    `json:"preauthenticatedRequests"`
}

// StoredObject is an object in an inventory; Size is in bytes.
type StoredObject struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// StoredUpload is an unfinished multipart upload in an inventory; Size is what
// its parts take up, in bytes.
type StoredUpload struct {
	Object string `json:"object"`
	ID     string `json:"uploadId"`
	Size   int64  `json:"size"`
}

// StoredPAR is a pre-authenticated request in an inventory, without its URL.
type StoredPAR struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Object     string    `json:"objectName"`
	AccessType string    `json:"accessType"`
	Expired    bool      `json:"expired"`
	Expires    time.Time `json:"timeExpires"`
}

// inventory lists what a namespace holds in a region, sorted by name, never
// with a nil slice.
func (s *objectStore) inventory(namespace, regionName string) []StoredBucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []StoredBucket{}
	for _, ref := range s.sortedBuckets() {
		if ref.namespace != namespace || ref.region != regionName {
			continue
		}
		b := s.buckets[ref]
		row := StoredBucket{Name: ref.bucket, Objects: []StoredObject{}, Uploads: []StoredUpload{}, PARs: []StoredPAR{}}
		for _, name := range slices.Sorted(maps.Keys(b.objects)) {
			row.Objects = append(row.Objects, StoredObject{name, b.objects[name].blob.size})
		}
		for _, id := range slices.Sorted(maps.Keys(b.uploads)) {
			u := StoredUpload{Object: b.uploads[id].object, ID: id}
			for _, p := range b.uploads[id].parts {
				u.Size += p.blob.size
			}
			row.Uploads = append(row.Uploads, u)
		}
		for _, id := range slices.Sorted(maps.Keys(b.pars)) {
			p := b.pars[id]
			row.PARs = append(row.PARs, StoredPAR{id, p.details.Name, p.details.ObjectName, p.details.AccessType, p.expired(), p.details.TimeExpires})
		}
		list = append(list, row)
	}
	return list
}

func (s *objectStore) sortedBuckets() []bucketRef {
	return slices.SortedFunc(maps.Keys(s.buckets), func(a, b bucketRef) int {
		return slices.Compare([]string{a.region, a.namespace, a.bucket}, []string{b.region, b.namespace, b.bucket})
	})
}
