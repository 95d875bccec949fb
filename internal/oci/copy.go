// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Exporter is the tenancy that an image is copied from; it implements
// imagecopy.Source.
type Exporter struct {
	*Client
	Timeout time.Duration // of one export
	Say     func(format string, args ...any)
}

// Describe implements imagecopy.Source.
func (x *Exporter) Describe(ctx context.Context, id string) (cloud.Image, error) {
	if _, err := x.signIn(ctx); err != nil && !missing(err) {
		return cloud.Image{}, fmt.Errorf("source: %w", err)
	}
	img, err := x.image(ctx, id)
	switch {
	case missing(err):
		return cloud.Image{}, fmt.Errorf("source_image_ocid: there is no image %s in %s that this user may see; an image's OCID belongs to one region and one tenancy: %w", id, x.Region, err)
	case err != nil:
		return cloud.Image{}, fmt.Errorf("source_image_ocid: %w", err)
	case img.state != core.ImageLifecycleStateAvailable:
		return cloud.Image{}, fmt.Errorf("source_image_ocid: image %s (%s) is %s, it must be AVAILABLE", id, img.name, img.state)
	}
	return cloud.Image{ID: id, Name: img.name}, nil
}

// Export implements imagecopy.Source. The image is written through a link and
// not by bucket and name, which works for every kind of credentials.
func (x *Exporter) Export(ctx context.Context, id string, to cloud.Link, token string) (job string, err error) {
	err = repeatWithToken(ctx, patience{limit: repeatFor}, "export image", id, token, func(ctx context.Context, token string) error {
		r, err := x.compute.ExportImage(shield(ctx), core.ExportImageRequest{
			ImageId: &id,
			ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{
				DestinationUri: &to.URL, ExportFormat: core.ExportImageDetailsExportFormatOci,
			},
			OpcRetryToken: &token, RequestMetadata: once(),
		})
		job = text(r.OpcWorkRequestId)
		return err
	})
	return job, err
}

// AwaitExport implements imagecopy.Source.
func (x *Exporter) AwaitExport(ctx context.Context, id, job string) error {
	progress := func(d time.Duration) { x.Say("Still exporting %s (%s)", id, d) }
	return x.awaitImage(ctx, "export image", id, job, x.Timeout, "export_timeout", progress)
}

// Importer is one tenancy and region that an image is copied to; it implements
// imagecopy.Destination.
type Importer struct {
	*Client
	Label       string
	Compartment string
	Shapes      []string
	Tags        map[string]string
	Owner       owner.Build
	Timeout     time.Duration // of one import
	Say         func(format string, args ...any)
}

// Name implements imagecopy.Destination.
func (m *Importer) Name() string { return m.Label }

// Lost implements imagecopy.Destination.
func (*Importer) Lost(err error) bool { return lost(err) }

// Check implements imagecopy.Destination.
func (m *Importer) Check(ctx context.Context) error {
	if _, err := m.signIn(ctx); err != nil && !missing(err) {
		return err
	}
	// A list is the cheapest call that proves the compartment.
	one := 1
	err := repeat(ctx, "list images in", m.Compartment, func(ctx context.Context) error {
		_, err := m.compute.ListImages(shield(ctx), core.ListImagesRequest{CompartmentId: &m.Compartment, Limit: &one, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return fmt.Errorf("there is no compartment %s that this user may list images in: %w", m.Compartment, err)
	}
	if err != nil {
		return err
	}
	if left, known := m.imagesLeft(ctx); known && left <= 0 {
		return fmt.Errorf("the limit \"custom-image-count\" of tenancy %s in %s leaves no room for another image (%d left)", m.Tenancy, m.Region, left)
	}
	return nil
}

// Import implements imagecopy.Destination. Neither the launch mode nor the type
// of the source is sent: for an .oci object the service takes both from the
// object.
func (m *Importer) Import(ctx context.Context, from cloud.Link, name, token string) (string, string, error) {
	id, work, err := m.createImage(ctx, patience{limit: m.Timeout, option: "import_timeout", say: m.Say}, token, core.CreateImageDetails{
		CompartmentId:      &m.Compartment,
		DisplayName:        &name,
		FreeformTags:       unfinished(m.Owner, owner.RoleImport, m.Tags, token),
		ImageSourceDetails: core.ImageSourceViaObjectStorageUriDetails{SourceUri: &from.URL},
	})
	return id, text(work), err
}

// Find implements imagecopy.Destination.
func (m *Importer) Find(ctx context.Context, token string) ([]string, error) {
	return m.imagesOf(ctx, m.Compartment, token)
}

// FinishImport implements imagecopy.Destination.
func (m *Importer) FinishImport(ctx context.Context, id, job string) error {
	progress := func(d time.Duration) { m.Say("Still importing %s into %s (%s)", id, m.Label, d) }
	if err := m.awaitImage(ctx, "import image", id, job, m.Timeout, "import_timeout", progress); err != nil {
		return err
	}
	return m.completeImage(ctx, id, completion{
		shapes: m.Shapes, tags: finished(m.Owner, owner.RoleImport, m.Tags), patience: patience{limit: m.Timeout, option: "import_timeout", say: m.Say},
	})
}

// Delete implements imagecopy.Destination.
func (m *Importer) Delete(ctx context.Context, id string) error { return m.DeleteImage(ctx, id) }

// Bucket is the bucket that an image travels through; it implements
// imagecopy.Store.
type Bucket struct {
	*Client
	Namespace string // empty: the tenancy's own, looked up by Check
	Bucket    string
}

// Check implements imagecopy.Store.
func (b *Bucket) Check(ctx context.Context) error {
	if b.Namespace == "" {
		err := repeat(ctx, "get namespace", "", func(ctx context.Context) error {
			r, err := b.objects.GetNamespace(shield(ctx), objectstorage.GetNamespaceRequest{RequestMetadata: once()})
			b.Namespace = text(r.Value)
			return err
		})
		if err != nil {
			return err
		}
	}
	err := repeat(ctx, "find bucket", b.Bucket, func(ctx context.Context) error {
		_, err := b.objects.HeadBucket(shield(ctx), objectstorage.HeadBucketRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return fmt.Errorf("bucket: there is no bucket %q in the namespace %q in %s that this user may use; create it, or name another one", b.Bucket, b.Namespace, b.Region)
	}
	return err
}

// Size implements imagecopy.Store.
func (b *Bucket) Size(ctx context.Context, object string) (size int64, ok bool, err error) {
	err = repeat(ctx, "find object", object, func(ctx context.Context) error {
		r, err := b.objects.HeadObject(shield(ctx), objectstorage.HeadObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, RequestMetadata: once()})
		if err == nil && r.ContentLength != nil {
			size = *r.ContentLength
		}
		return err
	})
	if missing(err) {
		return 0, false, nil
	}
	return size, err == nil, err
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
	return l, err
}

// Unshare implements imagecopy.Store. That a deletion finds nothing is believed
// only if nothing is listed any more: a permission that is not there gives the
// same answer.
func (b *Bucket) Unshare(ctx context.Context, name string) error {
	ids, err := b.linksNamed(ctx, name)
	errs := []error{err}
	var doubt error
	for _, id := range ids {
		err := repeat(ctx, "delete pre-authenticated request", name, func(ctx context.Context) error {
			_, err := b.objects.DeletePreauthenticatedRequest(shield(ctx), objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ParId: &id, RequestMetadata: once()})
			return err
		})
		if missing(err) {
			doubt = err
		} else {
			errs = append(errs, err)
		}
	}
	if doubt != nil {
		left, err := b.linksNamed(ctx, name)
		if errs = append(errs, err); len(left) > 0 {
			errs = append(errs, doubt)
		}
	}
	return errors.Join(errs...)
}

// linksNamed lists the ids of the pre-authenticated requests of a name.
func (b *Bucket) linksNamed(ctx context.Context, name string) (ids []string, err error) {
	err = cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListPreauthenticatedRequestsResponse
		err := repeat(ctx, "list pre-authenticated requests of", b.Bucket, func(ctx context.Context) (err error) {
			r, err = b.objects.ListPreauthenticatedRequests(shield(ctx), objectstorage.ListPreauthenticatedRequestsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Page: page, RequestMetadata: once()})
			return err
		})
		for _, p := range r.Items {
			if text(p.Name) == name {
				ids = append(ids, text(p.Id))
			}
		}
		return r.OpcNextPage, err
	})
	return ids, err
}

// Remove implements imagecopy.Store. An upload that was broken off counts as
// storage until it is aborted.
func (b *Bucket) Remove(ctx context.Context, object string) error {
	errs := []error{b.abortUploads(ctx, object)}
	err := repeat(ctx, "delete object", object, func(ctx context.Context) error {
		_, err := b.objects.DeleteObject(shield(ctx), objectstorage.DeleteObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		if _, there, serr := b.Size(ctx, object); serr == nil && !there {
			err = nil // it never came to be, or is gone
		}
	}
	return errors.Join(append(errs, err)...)
}

func (b *Bucket) abortUploads(ctx context.Context, object string) error {
	var uploads []string
	err := cloud.Pages(func(page *string) (*string, error) {
		var r objectstorage.ListMultipartUploadsResponse
		err := repeat(ctx, "list uploads to", b.Bucket, func(ctx context.Context) (err error) {
			r, err = b.objects.ListMultipartUploads(shield(ctx), objectstorage.ListMultipartUploadsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Page: page, RequestMetadata: once()})
			return err
		})
		for _, u := range r.Items {
			if text(u.Object) == object {
				uploads = append(uploads, text(u.UploadId))
			}
		}
		return r.OpcNextPage, err
	})
	errs := []error{err}
	for _, id := range uploads {
		err := repeat(ctx, "abort upload of", object, func(ctx context.Context) error {
			_, err := b.objects.AbortMultipartUpload(shield(ctx), objectstorage.AbortMultipartUploadRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, UploadId: &id, RequestMetadata: once()})
			return err
		})
		if !missing(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
