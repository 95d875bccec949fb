// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Bucket is the bucket that an image travels through; it implements
// imagecopy.Store.
type Bucket struct {
	*Client
	Namespace string // empty: the tenancy's own, looked up by Check
	Bucket    string
}

// findNamespace finds out the tenancy's own, if none is set.
func (b *Bucket) findNamespace(ctx context.Context) error {
	if b.Namespace != "" {
		return nil
	}
	return repeat(ctx, "get namespace", "", func(ctx context.Context) error {
		r, err := b.objects.GetNamespace(shield(ctx), objectstorage.GetNamespaceRequest{RequestMetadata: once()})
		b.Namespace = text(r.Value)
		return err
	})
}

// Check implements imagecopy.Store.
func (b *Bucket) Check(ctx context.Context) error {
	if err := b.findNamespace(ctx); err != nil {
		return err
	}
	err := repeat(ctx, "find bucket", b.Bucket, func(ctx context.Context) error {
		_, err := b.objects.HeadBucket(shield(ctx), objectstorage.HeadBucketRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return fmt.Errorf("bucket: there is no bucket %q in the namespace %q in %s that this user may use; create it, or name another one", b.Bucket, b.Namespace, b.Region)
	}
	if err != nil {
		return err
	}
	return b.mayShare(ctx)
}

// Size implements imagecopy.Store.
func (b *Bucket) Size(ctx context.Context, object string) (size int64, ok bool, err error) {
	i, ok, err := b.head(ctx, object)
	return i.size, ok, err
}

// objectInfo is what is known of an object.
type objectInfo struct {
	size     int64
	etag     string
	modified time.Time
	joined   string // checksum of an object that was uploaded in parts
	by       string // the copy that made it, if it says so
}

func (b *Bucket) head(ctx context.Context, object string) (i objectInfo, ok bool, err error) {
	err = repeat(ctx, "find object", object, func(ctx context.Context) error {
		r, err := b.objects.HeadObject(shield(ctx), objectstorage.HeadObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, RequestMetadata: once()})
		if err != nil {
			return err
		}
		i = objectInfo{etag: text(r.ETag), joined: text(r.OpcMultipartMd5), by: r.OpcMeta[madeByKey]}
		if r.ContentLength != nil {
			i.size = *r.ContentLength
		}
		if r.LastModified != nil {
			i.modified = r.LastModified.Time
		}
		return nil
	})
	if missing(err) {
		return objectInfo{}, false, nil
	}
	return i, err == nil, err
}

// copyOf says whether an object was made of a source as it is now. Dates are told
// in whole seconds: in the same one, either may have been first.
func (i objectInfo) copyOf(source objectInfo) bool {
	return i.size == source.size && !i.modified.IsZero() && !source.modified.IsZero() && i.modified.After(source.modified)
}

// Share implements imagecopy.Store.
func (b *Bucket) Share(ctx context.Context, object, name string, a cloud.Access, expires time.Time) (l cloud.Link, err error) {
	kind := objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread
	if a == cloud.Write {
		kind = objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectwrite
	}
	// A lost reply leaves a link behind that nobody knows the URL of. It has
	// the same name, and Unshare removes every link of a name.
	err = repeat(ctx, "create pre-authenticated request", name, func(ctx context.Context) error {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		r, err := b.objects.CreatePreauthenticatedRequest(shield(g), objectstorage.CreatePreauthenticatedRequestRequest{
			NamespaceName: &b.Namespace, BucketName: &b.Bucket,
			CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{
				Name: &name, ObjectName: &object, AccessType: kind, TimeExpires: &common.SDKTime{Time: expires.UTC().Truncate(time.Millisecond)},
			},
			RequestMetadata: once(),
		})
		if err == nil {
			// Composed from the host that answered: FullPath names another one,
			// with which no import is known to have worked, and the client's
			// Endpoint still has placeholders in it.
			u := r.RawResponse.Request.URL
			l = cloud.Link{ID: text(r.Id), URL: u.Scheme + "://" + u.Host + text(r.AccessUri)}
		}
		return err
	})
	if code(err, "NotAuthorizedOrNotFound", "BucketNotFound") {
		err = help.About(help.Links, fmt.Errorf("this user may not make pre-authenticated requests for the bucket %q (PAR_MANAGE, a part of \"manage buckets\"), or the bucket is gone: %w", b.Bucket, err))
	}
	return l, err
}

// Unshare implements imagecopy.Store. That a deletion finds nothing is believed
// only if nothing is listed any more: a permission that is not there gives the
// same answer.
func (b *Bucket) Unshare(ctx context.Context, id, role string) error {
	links, err := b.linksOf(ctx, id, role)
	errs := []error{err}
	var doubt error
	for _, par := range links {
		err := repeat(ctx, "delete pre-authenticated request", text(par.Name), func(ctx context.Context) error {
			_, err := b.objects.DeletePreauthenticatedRequest(shield(ctx), objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ParId: par.Id, RequestMetadata: once()})
			return err
		})
		if missing(err) {
			doubt = err
		} else {
			errs = append(errs, err)
		}
	}
	if doubt != nil {
		left, err := b.linksOf(ctx, id, role)
		if errs = append(errs, err); len(left) > 0 {
			errs = append(errs, doubt)
		}
	}
	return errors.Join(errs...)
}

// linksOf lists the pre-authenticated requests of a copy in a role, whatever their
// expiry, which is a part of their names.
func (b *Bucket) linksOf(ctx context.Context, id, role string) ([]objectstorage.PreauthenticatedRequestSummary, error) {
	all, err := b.links(ctx)
	return slices.DeleteFunc(all, func(p objectstorage.PreauthenticatedRequestSummary) bool {
		by, as, err := owner.ParseName(text(p.Name))
		return err != nil || by.ID != id || as != role
	}), err
}

// links lists all pre-authenticated requests.
func (b *Bucket) links(ctx context.Context) (all []objectstorage.PreauthenticatedRequestSummary, err error) {
	err = cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListPreauthenticatedRequestsResponse
		err := repeat(ctx, "list pre-authenticated requests of", b.Bucket, func(ctx context.Context) (err error) {
			r, err = b.objects.ListPreauthenticatedRequests(shield(ctx), objectstorage.ListPreauthenticatedRequestsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Page: page, RequestMetadata: once()})
			return err
		})
		all = append(all, r.Items...)
		return r.OpcNextPage, err
	})
	return all, err
}

// Remove implements imagecopy.Store. An upload that was broken off counts as
// storage until it is aborted.
func (b *Bucket) Remove(ctx context.Context, object string) error {
	return errors.Join(b.Abort(ctx, object, nil), b.Delete(ctx, object))
}

// Delete implements imagecopy.Store.
func (b *Bucket) Delete(ctx context.Context, object string) error {
	err := repeat(ctx, "delete object", object, func(ctx context.Context) error {
		_, err := b.objects.DeleteObject(shield(ctx), objectstorage.DeleteObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		if _, there, serr := b.Size(ctx, object); serr == nil && !there {
			err = nil // it never came to be, or is gone
		}
	}
	return err
}

// maxNote bounds what is read of a note: the name of an object, and what it is.
const maxNote = 4096

// givenLine ends a note of a copy of an object that was there. No object has a line end in
// its name.
const givenLine = "\ngiven"

// Note implements imagecopy.Store: a small object beside the image's.
func (b *Bucket) Note(ctx context.Context, n cloud.Note) error {
	body := n.Object
	if n.Given {
		body += givenLine
	}
	size := int64(len(body))
	return repeat(ctx, "write note", n.Name, func(ctx context.Context) error {
		_, err := b.objects.PutObject(shield(ctx), objectstorage.PutObjectRequest{
			NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &n.Name, ContentLength: &size,
			PutObjectBody: io.NopCloser(strings.NewReader(body)), RequestMetadata: once(),
		})
		return err
	})
}

// Notes implements imagecopy.Store.
func (b *Bucket) Notes(ctx context.Context) (notes []cloud.Note, err error) {
	objects, err := b.ownObjects(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if _, is := noteMark(text(o.Name)); !is {
			continue
		}
		n, err := b.readNote(ctx, text(o.Name))
		if missing(err) {
			continue // somebody else's copy has just ended
		}
		if err != nil {
			return nil, err
		}
		n.Created = moment(o.TimeCreated)
		notes = append(notes, n)
	}
	return notes, nil
}

// readNote reads a note, but not when it was written.
func (b *Bucket) readNote(ctx context.Context, name string) (n cloud.Note, err error) {
	n.Name = name
	err = repeat(ctx, "read note", name, func(ctx context.Context) error {
		r, err := b.objects.GetObject(shield(ctx), objectstorage.GetObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &name, RequestMetadata: once()})
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(r.Content, maxNote))
		n.Object, n.Given = strings.CutSuffix(string(text), givenLine)
		return errors.Join(err, r.Content.Close())
	})
	return n, err
}

// Forget implements imagecopy.Store.
func (b *Bucket) Forget(ctx context.Context, name string) error { return b.Delete(ctx, name) }

// Now implements imagecopy.Store.
func (b *Bucket) Now() time.Time { return b.now() }

// Abort implements imagecopy.Store.
func (b *Bucket) Abort(ctx context.Context, object string, mine func(begun time.Time) bool) error {
	uploads, err := b.uploadsOf(ctx, object, mine)
	errs := []error{err}
	for _, id := range uploads {
		errs = append(errs, (&Upload{bucket: b, object: object, id: id}).Abort(ctx))
	}
	return errors.Join(errs...)
}

// moment is a time that the service told; zero if it did not.
func moment(t *common.SDKTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
