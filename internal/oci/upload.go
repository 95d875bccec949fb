// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// partLimit is how long one part may be on its way: 10 MiB at 150 kbit/s.
	partLimit = 10 * time.Minute
	// partPatience limits how long a part is sent again that does not arrive.
	partPatience = 30 * time.Minute
)

// Upload is an object that comes to be in parts. Nothing is visible of it before
// Commit, and its parts take up storage until Commit or Abort.
type Upload struct {
	bucket *Bucket
	object string
	id     string
	by     string                     // what the object says it was made by; may be empty
	mine   func(begun time.Time) bool // says which uploads are gone on with; nil: all

	mu    sync.Mutex
	there map[int]part // what the service has
	sent  map[int]part // what the object is to consist of
	kept  int
}

type part struct {
	etag string
	md5  string // base64
	size int64
}

// madeByKey is the name, among an object's metadata, of the copy that made it.
const madeByKey = owner.Key + "-copy"

// Upload begins an upload of the object, or goes on with one that was broken off: the
// one that has most. Parts that are there are known by their checksums, so that it
// does not matter who left them. The object must not exist.
func (b *Bucket) Upload(ctx context.Context, object string) (*Upload, error) {
	return b.UploadBy(ctx, object, "", nil)
}

// UploadBy is Upload for the copy with an id, of which [Bucket.MadeBy] then knows that it
// made the object. It goes on only with an upload that was begun at a time that is mine; nil
// is any time.
func (b *Bucket) UploadBy(ctx context.Context, object, id string, mine func(begun time.Time) bool) (*Upload, error) {
	u := &Upload{bucket: b, object: object, by: id, mine: mine, sent: map[int]part{}}
	// A reply that is lost leaves an upload behind, which the list then has.
	return u, taken(object, repeat(ctx, "begin upload of", object, func(ctx context.Context) error {
		if found, err := u.find(ctx); err != nil || found {
			return err
		}
		return u.create(ctx)
	}))
}

// taken says in plain words that there is an object of the name by now.
func taken(object string, err error) error {
	if status(err) == http.StatusPreconditionFailed {
		return fmt.Errorf("there is an object %q by now, which is not overwritten; see who else writes to the bucket, or choose another name: %w", object, err)
	}
	return err
}

func (u *Upload) create(ctx context.Context) error {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	anything, kind := "*", "application/octet-stream"
	var meta map[string]string
	if u.by != "" {
		meta = map[string]string{"opc-meta-" + madeByKey: u.by} // where there is JSON in place of headers names have the prefix, too
	}
	r, err := u.bucket.objects.CreateMultipartUpload(shield(g), objectstorage.CreateMultipartUploadRequest{
		NamespaceName: &u.bucket.Namespace, BucketName: &u.bucket.Bucket, IfNoneMatch: &anything,
		CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &u.object, ContentType: &kind, Metadata: meta},
		RequestMetadata:              once(),
	})
	if err == nil && text(r.UploadId) == "" {
		err = errNoAnswer
	}
	u.id, u.there = text(r.UploadId), map[int]part{}
	return err
}

// find looks for an upload of the object, and for what it has.
func (u *Upload) find(ctx context.Context) (bool, error) {
	ids, err := u.bucket.uploadsOf(ctx, u.object, u.mine)
	if err != nil {
		return false, err
	}
	best := int64(-1)
	for _, id := range ids {
		parts, size, err := u.bucket.partsOf(ctx, u.object, id)
		if missing(err) {
			continue // gone meanwhile
		}
		if err != nil {
			return false, err
		}
		if size > best {
			u.id, u.there, best = id, parts, size
		}
	}
	return best >= 0, nil
}

// uploadsOf lists the uploads of an object that are neither committed nor aborted, and were
// begun at a time that is mine; nil is any time.
func (b *Bucket) uploadsOf(ctx context.Context, object string, mine func(begun time.Time) bool) (ids []string, err error) {
	all, err := b.uploads(ctx)
	for _, up := range all {
		if text(up.Object) == object && (mine == nil || mine(moment(up.TimeCreated))) {
			ids = append(ids, text(up.UploadId))
		}
	}
	return ids, err
}

// uploads lists all uploads that are neither committed nor aborted.
func (b *Bucket) uploads(ctx context.Context) (all []objectstorage.MultipartUpload, err error) {
	err = cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListMultipartUploadsResponse
		err := repeat(ctx, "list uploads to", b.Bucket, func(ctx context.Context) (err error) {
			r, err = b.objects.ListMultipartUploads(shield(ctx), objectstorage.ListMultipartUploadsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Page: page, RequestMetadata: once()})
			return err
		})
		all = append(all, r.Items...)
		return r.OpcNextPage, err
	})
	return all, err
}

func (b *Bucket) partsOf(ctx context.Context, object, upload string) (parts map[int]part, size int64, err error) {
	parts = map[int]part{}
	err = cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListMultipartUploadPartsResponse
		err := repeat(ctx, "list parts of", object, func(ctx context.Context) (err error) {
			r, err = b.objects.ListMultipartUploadParts(shield(ctx), objectstorage.ListMultipartUploadPartsRequest{
				NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, UploadId: &upload, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, p := range r.Items {
			if p.PartNumber != nil && p.Size != nil {
				parts[*p.PartNumber] = part{text(p.Etag), text(p.Md5), *p.Size}
				size += *p.Size
			}
		}
		return r.OpcNextPage, err
	})
	return parts, size, err
}

// partBody is a part that the SDK can send again from the beginning.
type partBody struct{ *bytes.Reader }

func (partBody) Close() error { return nil }

// Part uploads a part, unless one with the same content is there. Numbers go from 1
// to 10,000; every part but the last must have at least 10 MiB.
func (u *Upload) Part(ctx context.Context, number int, data []byte) error {
	digest := md5.Sum(data) //nolint:gosec // the service's own checksum
	sum, size := base64.StdEncoding.EncodeToString(digest[:]), int64(len(data))
	u.mu.Lock()
	if p, ok := u.there[number]; ok && p.md5 == sum && p.size == size {
		u.sent[number] = p
		u.kept++
		u.mu.Unlock()
		return nil
	}
	u.mu.Unlock()
	var etag string
	subject := fmt.Sprintf("%d of %s", number, u.object)
	p := patience{limit: partPatience}
	err := p.repeat(ctx, "upload part", subject, damaged, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, partLimit)
		defer cancel()
		r, err := u.bucket.parts.UploadPart(shield(limited), objectstorage.UploadPartRequest{
			NamespaceName: &u.bucket.Namespace, BucketName: &u.bucket.Bucket, ObjectName: &u.object, UploadId: &u.id, UploadPartNum: &number,
			ContentLength: &size, ContentMD5: &sum, UploadPartBody: partBody{bytes.NewReader(data)}, RequestMetadata: once(),
		})
		if etag = text(r.ETag); err == nil && (etag == "" || text(r.OpcContentMd5) != sum) {
			err = errNoAnswer
		}
		return err
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.there[number] = part{etag, sum, size}
	u.sent[number] = u.there[number]
	return nil
}

// damaged says that a part may arrive if it is sent again: the service was busy, or
// what arrived was not what was sent.
func damaged(err error) bool {
	var e *Error
	return passing(err) || code(err, "UnmatchedContentMD5") || errors.As(err, &e) && errors.Is(e.Cause, context.DeadlineExceeded)
}

// Kept is how many parts need not be uploaded, because they were there.
func (u *Upload) Kept() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.kept
}

// sum is what the service calls the checksum of an object of these parts.
func (u *Upload) sum() (string, error) {
	all := md5.New() //nolint:gosec // the service's own checksum
	for _, n := range slices.Sorted(maps.Keys(u.sent)) {
		digest, err := base64.StdEncoding.DecodeString(u.sent[n].md5)
		if err != nil {
			return "", fmt.Errorf("the checksum of part %d: %w", n, err)
		}
		all.Write(digest)
	}
	return base64.StdEncoding.EncodeToString(all.Sum(nil)) + "-" + strconv.Itoa(len(u.sent)), nil
}

// Commit makes the object of the parts that were uploaded, or found, by Part. It is
// sure of the object's checksum, or returns an error.
func (u *Upload) Commit(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	want, err := u.sum()
	if err != nil {
		return err
	}
	open := false // an earlier request may have taken effect
	looks := 0    // at the parts
	return taken(u.object, repeat(ctx, "commit upload of", u.object, func(ctx context.Context) error {
		got, err := u.commit(ctx, u.details())
		e := wrap("commit upload of", u.object, err)
		for looks < maxLooks && code(e, invalidPart) {
			same, lerr := u.look(ctx)
			if lerr != nil && !missing(lerr) {
				return lerr
			}
			looks++
			if !same { // or gone, perhaps by a commit that got no answer
				break
			}
			got, err = u.commit(ctx, u.details())
			e = wrap("commit upload of", u.object, err)
		}
		switch {
		case err == nil && got == want:
			return nil
		case err == nil:
			return fmt.Errorf("the object %q arrived damaged: its checksum is %s, not %s", u.object, got, want)
		case open && !passing(e):
			// The upload is gone, or the object is in the way: perhaps our own.
			if got, err := u.bucket.multipartSum(ctx, u.object); err == nil && got == want {
				return nil
			}
		}
		open = open || lost(e)
		return err
	}))
}

// invalidPart is the code for a part that is not there in the version that is named.
const invalidPart = "InvalidUploadPart"

// maxLooks is how often a commit looks at the parts again: another one may be late.
const maxLooks = 3

// details say which parts the object is made of.
func (u *Upload) details() (d objectstorage.CommitMultipartUploadDetails) {
	for _, n := range slices.Sorted(maps.Keys(u.there)) {
		if p, ok := u.sent[n]; ok {
			d.PartsToCommit = append(d.PartsToCommit, objectstorage.CommitMultipartUploadPartDetails{PartNum: &n, Etag: &p.etag})
		} else {
			d.PartsToExclude = append(d.PartsToExclude, n)
		}
	}
	return d
}

// look takes what the service has of the parts now, and says whether that is what was
// sent. A request that was given up and repeated may arrive after its repetition: the
// same part, under another ETag. A part that nobody here sent is somebody else's, who has a
// hand in the upload: then it is not.
func (u *Upload) look(ctx context.Context) (same bool, err error) {
	there, _, err := u.bucket.partsOf(ctx, u.object, u.id)
	if err != nil {
		return false, err
	}
	for n, p := range u.sent {
		if is := there[n]; is.md5 != p.md5 || is.size != p.size {
			return false, nil
		}
	}
	for n := range there {
		if _, known := u.there[n]; !known {
			return false, nil
		}
	}
	for n := range u.sent {
		u.sent[n] = there[n]
	}
	u.there = there
	return true, nil
}

func (u *Upload) commit(ctx context.Context, d objectstorage.CommitMultipartUploadDetails) (sum string, err error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	anything := "*"
	r, err := u.bucket.parts.CommitMultipartUpload(shield(g), objectstorage.CommitMultipartUploadRequest{
		NamespaceName: &u.bucket.Namespace, BucketName: &u.bucket.Bucket, ObjectName: &u.object, UploadId: &u.id, IfNoneMatch: &anything,
		CommitMultipartUploadDetails: d, RequestMetadata: once(),
	})
	return text(r.OpcMultipartMd5), err
}

// MadeBy is the id of the copy that made an object by UploadBy; empty if none did, or if
// there is no object. What is put in its place does not say so.
func (b *Bucket) MadeBy(ctx context.Context, object string) (string, error) {
	i, _, err := b.head(ctx, object)
	return i.by, err
}

// multipartSum is the checksum of an object that was uploaded in parts.
func (b *Bucket) multipartSum(ctx context.Context, object string) (sum string, err error) {
	err = repeat(ctx, "find object", object, func(ctx context.Context) error {
		r, err := b.objects.HeadObject(shield(ctx), objectstorage.HeadObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, RequestMetadata: once()})
		sum = text(r.OpcMultipartMd5)
		return err
	})
	return sum, err
}

// Abort removes the upload and its parts. ctx is one for cleaning up.
func (u *Upload) Abort(ctx context.Context) error {
	err := repeat(ctx, "abort upload of", u.object, func(ctx context.Context) error {
		_, err := u.bucket.objects.AbortMultipartUpload(shield(ctx), objectstorage.AbortMultipartUploadRequest{
			NamespaceName: &u.bucket.Namespace, BucketName: &u.bucket.Bucket, ObjectName: &u.object, UploadId: &u.id, RequestMetadata: once(),
		})
		return err
	})
	if missing(err) {
		return nil // committed or aborted
	}
	return err
}
