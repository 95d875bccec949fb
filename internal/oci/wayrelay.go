// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // the checksum that Object Storage tells of a part
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// RelayWay is the route relay: the object is read from the link and written into
// a bucket of the destination's tenancy, through this computer. It implements
// imagecopy.Way.
//
// Each part goes from the one connection into the other, so that nothing of it is
// kept: neither its size nor the object's matters to the memory. What was read
// and what Object Storage says that it has got must have the same checksum. A
// part that fails is read again; what an earlier run uploaded is used.
type RelayWay struct {
	*Bucket
	Timeout time.Duration // of one relay
}

// The parts of a relay. Object Storage takes at most 10000.
const (
	relayPart    = 16 << 20
	relayParts   = 10000
	relayWorkers = 3
	// relayPartLimit is how long one attempt at a part may take: a connection on
	// which nothing moves would otherwise hold it for ever.
	relayPartLimit = 10 * time.Minute
)

// Route implements imagecopy.Way.
func (*RelayWay) Route() string { return "relay" }

// relay is one object on its way.
type relay struct {
	*Bucket
	objects  objectstorage.ObjectStorageClient // without a limit for a whole request
	plain    *http.Client                      // for the link
	from     cloud.Link
	source   objectInfo
	as       string
	upload   string
	partSize int64
	parts    []relayed
	done     atomic.Int64 // bytes
	progress func(float64)
}

// relayed is a part that is there.
type relayed struct{ etag, md5 string }

// Bring implements imagecopy.Way.
func (w *RelayWay) Bring(ctx context.Context, _ string, from cloud.Link, as string, progress func(float64)) error {
	limited, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	err := w.bring(limited, from, as, progress)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("the object could not be relayed within %s (the limit is the option \"import_timeout\"): %w", w.Timeout, err)
	}
	return err
}

func (w *RelayWay) bring(ctx context.Context, from cloud.Link, as string, progress func(float64)) error {
	r := &relay{Bucket: w.Bucket, from: from, as: as, progress: progress}
	r.objects, r.plain = w.streaming()
	var err error
	if r.source, err = r.probe(ctx); err != nil {
		return err
	}
	if old, there, err := r.head(ctx, as); err != nil || there && old.copyOf(r.source) {
		return err
	}
	r.partSize = max(relayPart, (r.source.size+relayParts-1)/relayParts)
	r.parts = make([]relayed, (r.source.size+r.partSize-1)/r.partSize)
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.move(ctx); err != nil {
		return err
	}
	return r.commit(ctx)
}

// streaming are clients whose requests may take as long as their contexts allow.
func (c *Client) streaming() (objectstorage.ObjectStorageClient, *http.Client) {
	o, plain := c.objects, &http.Client{}
	s, signs := o.HTTPClient.(signed)
	if t, ok := s.next.(tolerant); ok && signs {
		if h, ok := t.next.(*http.Client); ok {
			unlimited := *h
			unlimited.Timeout = 0
			plain, t.next = &unlimited, &unlimited
			s.next = t
			o.HTTPClient = s
		}
	}
	return o, plain
}

// get asks for a range of the object behind the link.
func (r *relay) get(ctx context.Context, first, length int64) (*http.Response, error) {
	const op = "read the object through its link"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.from.URL, nil)
	if err != nil {
		return nil, errors.New(op + ": the link is not a URL") // which is a secret
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, first+length-1))
	if r.source.etag != "" {
		req.Header.Set("If-Match", r.source.etag)
	}
	resp, err := r.plain.Do(req)
	if err != nil {
		return nil, wrap(op, "", err)
	}
	if resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close()
		return nil, &Error{Op: op, Status: resp.StatusCode, Message: cmp.Or(http.StatusText(resp.StatusCode), "no part of it is given")}
	}
	return resp, nil
}

// probe finds out what is behind the link.
func (r *relay) probe(ctx context.Context) (i objectInfo, err error) {
	err = repeat(ctx, "look at the object", "", func(ctx context.Context) error {
		resp, err := r.get(ctx, 0, 1)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, whole, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		i.size, err = strconv.ParseInt(whole, 10, 64)
		if err != nil || i.size <= 0 {
			return fmt.Errorf("its size cannot be told from the range %q", resp.Header.Get("Content-Range"))
		}
		i.etag = resp.Header.Get("Etag")
		i.modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // none: nothing of an earlier run is used
		return nil
	})
	return i, err
}

// begin takes up the upload of an earlier run, if it began after the object was
// written, or makes one.
func (r *relay) begin(ctx context.Context) error {
	uploads, err := r.uploadsOf(ctx, r.as)
	if err != nil {
		return err
	}
	for _, u := range uploads {
		if u.TimeCreated == nil || r.source.modified.IsZero() || u.TimeCreated.Before(r.source.modified.Add(time.Second)) {
			continue
		}
		r.upload = text(u.UploadId)
		return r.takeUp(ctx)
	}
	return repeat(ctx, "begin upload of", r.as, func(ctx context.Context) error {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		u, err := r.objects.CreateMultipartUpload(shield(g), objectstorage.CreateMultipartUploadRequest{
			NamespaceName: &r.Namespace, BucketName: &r.Bucket.Bucket, RequestMetadata: once(),
			CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &r.as},
		})
		r.upload = text(u.UploadId)
		return err
	})
}

// takeUp notes the parts that are there.
func (r *relay) takeUp(ctx context.Context) error {
	return cloud.Pages(func(page *string) (*string, error) {
		var l objectstorage.ListMultipartUploadPartsResponse
		err := repeat(ctx, "list parts of", r.as, func(ctx context.Context) (err error) {
			l, err = r.objects.ListMultipartUploadParts(shield(ctx), objectstorage.ListMultipartUploadPartsRequest{
				NamespaceName: &r.Namespace, BucketName: &r.Bucket.Bucket, ObjectName: &r.as, UploadId: &r.upload, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, p := range l.Items {
			if p.PartNumber == nil || p.Size == nil || *p.PartNumber < 1 || *p.PartNumber > len(r.parts) || *p.Size != r.length(*p.PartNumber-1) {
				continue // it is uploaded again, over this one
			}
			r.parts[*p.PartNumber-1] = relayed{text(p.Etag), text(p.Md5)}
			r.done.Add(*p.Size)
		}
		return l.OpcNextPage, err
	})
}

// length is how many bytes a part has.
func (r *relay) length(n int) int64 { return min(r.partSize, r.source.size-int64(n)*r.partSize) }

// move moves the parts that are not there yet, a few at a time.
func (r *relay) move(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	todo := make(chan int)
	for range relayWorkers {
		wg.Go(func() {
			for n := range todo {
				if err := r.part(ctx, n); err != nil {
					cancel(err) // the first counts
				}
			}
		})
	}
	for n, p := range r.parts {
		if p.etag != "" {
			continue
		}
		select {
		case todo <- n:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

// errChecksum says that a part did not arrive as it was read.
var errChecksum = errors.New("the checksums of what was read and of what was stored differ")

// part moves one part.
func (r *relay) part(ctx context.Context, n int) error {
	again := func(err error) bool { return passing(err) || errors.Is(err, errChecksum) }
	return repeatIf(ctx, "relay part "+strconv.Itoa(n+1)+" of", r.as, again, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, relayPartLimit)
		defer cancel()
		length := r.length(n)
		resp, err := r.get(ctx, int64(n)*r.partSize, length)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		sum, number := md5.New(), n+1 //nolint:gosec // as above
		u, err := r.objects.UploadPart(shield(ctx), objectstorage.UploadPartRequest{
			NamespaceName: &r.Namespace, BucketName: &r.Bucket.Bucket, ObjectName: &r.as, UploadId: &r.upload, UploadPartNum: &number,
			ContentLength: &length, UploadPartBody: io.NopCloser(io.TeeReader(resp.Body, sum)), RequestMetadata: once(),
		})
		if err != nil {
			return err
		}
		got := base64.StdEncoding.EncodeToString(sum.Sum(nil))
		if u.OpcContentMd5 != nil && *u.OpcContentMd5 != got {
			return errChecksum
		}
		r.parts[n] = relayed{text(u.ETag), got}
		r.progress(100 * float64(r.done.Add(length)) / float64(r.source.size))
		return nil
	})
}

// commit makes an object of the parts and proves that it is the one.
func (r *relay) commit(ctx context.Context) error {
	whole := md5.New() //nolint:gosec // as above
	var list []objectstorage.CommitMultipartUploadPartDetails
	for i, p := range r.parts {
		number := i + 1
		list = append(list, objectstorage.CommitMultipartUploadPartDetails{PartNum: &number, Etag: &p.etag})
		sum, err := base64.StdEncoding.DecodeString(p.md5)
		if err != nil {
			return fmt.Errorf("the checksum %q of part %d cannot be read: %w", p.md5, number, err)
		}
		whole.Write(sum)
	}
	err := repeat(ctx, "complete upload of", r.as, func(ctx context.Context) error {
		_, err := r.objects.CommitMultipartUpload(shield(ctx), objectstorage.CommitMultipartUploadRequest{
			NamespaceName: &r.Namespace, BucketName: &r.Bucket.Bucket, ObjectName: &r.as, UploadId: &r.upload, RequestMetadata: once(),
			CommitMultipartUploadDetails: objectstorage.CommitMultipartUploadDetails{PartsToCommit: list},
		})
		return err
	})
	got, there, herr := r.head(ctx, r.as)
	switch {
	case missing(err) && there && got.size == r.source.size: // the reply to the first request was lost
	case err != nil:
		return err
	case herr != nil:
		return herr
	}
	want := base64.StdEncoding.EncodeToString(whole.Sum(nil)) + "-" + strconv.Itoa(len(r.parts))
	if got.size != r.source.size || got.joined != "" && got.joined != want {
		return fmt.Errorf("the object that was relayed has %d bytes and the checksum %s; it should have %d and %s", got.size, got.joined, r.source.size, want)
	}
	return nil
}
