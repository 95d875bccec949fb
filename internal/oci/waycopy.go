// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// CopyWay is the route copy-object: Object Storage copies the object into a bucket
// of the same tenancy in the destination's region. It implements imagecopy.Way.
type CopyWay struct {
	*Bucket               // in the destination's region, signed in to the source's tenancy
	From    *Bucket       // the source's
	Timeout time.Duration // of one copy

	open string // work request of a copy whose end is not known
}

// Route implements imagecopy.Way.
func (*CopyWay) Route() string { return "copy-object" }

// Bring implements imagecopy.Way. A copy whose request was lost is asked for
// again: it writes the same bytes to the same name.
func (w *CopyWay) Bring(ctx context.Context, object string, _ cloud.Link, as string, progress func(float64)) error {
	source, there, err := w.From.head(ctx, object)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("there is no object %q to copy", object)
	}
	if old, there, err := w.head(ctx, as); err != nil || there && old.copyOf(source) {
		return err
	}
	var job string
	err = repeat(ctx, "copy object", object, func(ctx context.Context) error {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		r, err := w.From.objects.CopyObject(shield(g), objectstorage.CopyObjectRequest{
			NamespaceName: &w.From.Namespace, BucketName: &w.From.Bucket, RequestMetadata: once(),
			CopyObjectDetails: objectstorage.CopyObjectDetails{
				SourceObjectName: &object, SourceObjectIfMatchETag: optional(source.etag),
				DestinationRegion: &w.Region, DestinationNamespace: &w.Namespace, DestinationBucket: &w.Bucket.Bucket, DestinationObjectName: &as,
			},
		})
		job = text(r.OpcWorkRequestId)
		w.open = job
		return err
	})
	if missing(err) {
		return fmt.Errorf("the object cannot be copied to %s: Object Storage itself needs a policy for that (\"Allow service objectstorage-%s to manage object-family in compartment ...\"), and this user the permission OBJECT_COPY: %w", w.Region, w.From.Region, err)
	}
	if err != nil {
		return err
	}
	return w.await(ctx, as, job, progress)
}

// await waits for the end of a copy. Work requests of Object Storage are its own.
func (w *CopyWay) await(ctx context.Context, as, job string, progress func(float64)) error {
	return wait.Loop{
		What: "the copy of the object to " + w.Region, Timeout: w.Timeout, Option: "import_timeout", Pace: wait.Slow, Tolerate: passing,
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := w.From.objects.GetWorkRequest(shield(ctx), objectstorage.GetWorkRequestRequest{WorkRequestId: &job, RequestMetadata: once()})
		if err != nil {
			return false, wrap("get work request", job, err)
		}
		if r.PercentComplete != nil {
			progress(float64(*r.PercentComplete))
		}
		if over(r.Status) {
			w.open = ""
		}
		switch r.Status {
		case objectstorage.WorkRequestStatusCompleted:
			return true, nil
		case objectstorage.WorkRequestStatusFailed, objectstorage.WorkRequestStatusCanceled, objectstorage.WorkRequestStatusCanceling:
			e := &Error{Op: "copy object", Subject: as, Message: fmt.Sprintf("its work request is %s", r.Status)}
			if l, err := w.From.objects.ListWorkRequestErrors(shield(ctx), objectstorage.ListWorkRequestErrorsRequest{WorkRequestId: &job, RequestMetadata: once()}); err == nil && len(l.Items) > 0 {
				e.Code, e.Message = text(l.Items[0].Code), text(l.Items[0].Message)
			}
			return false, e
		}
		return false, nil
	})
}

// over says that a work request has ended.
func over(s objectstorage.WorkRequestStatusEnum) bool {
	return s == objectstorage.WorkRequestStatusCompleted || s == objectstorage.WorkRequestStatusFailed || s == objectstorage.WorkRequestStatusCanceled
}

// Remove implements imagecopy.Way. A copy that was given up is cancelled first, and its
// end awaited: it may go on without its source, and would write the object later.
func (w *CopyWay) Remove(ctx context.Context, object string) error {
	err := w.giveUp(ctx)
	if err != nil {
		err = fmt.Errorf("the copy with the work request %s in %s may go on and write the object %s: %w", w.open, w.From.Region, object, err)
	}
	return errors.Join(err, w.Bucket.Remove(ctx, object))
}

// giveUp cancels the copy whose end is not known, if there is one, and waits for its end.
// One that cannot be cancelled is waited for as well.
func (w *CopyWay) giveUp(ctx context.Context) error {
	if w.open == "" {
		return nil
	}
	again := func(err error) bool { return passing(err) && status(err) != http.StatusConflict }
	refused := repeatIf(ctx, "cancel work request", w.open, again, func(ctx context.Context) error {
		_, err := w.From.objects.CancelWorkRequest(shield(ctx), objectstorage.CancelWorkRequestRequest{WorkRequestId: &w.open, RequestMetadata: once()})
		return err
	})
	if refused != nil {
		log.Printf("[WARN] the copy of the object to %s cannot be cancelled, its end is waited for: %v", w.Region, refused)
	}
	err := wait.Loop{What: "the end of the copy of the object to " + w.Region, Pace: wait.Slow, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := w.From.objects.GetWorkRequest(shield(ctx), objectstorage.GetWorkRequestRequest{WorkRequestId: &w.open, RequestMetadata: once()})
		return err == nil && over(r.Status), wrap("get work request", w.open, err)
	})
	if err != nil && !missing(err) {
		return errors.Join(err, refused)
	}
	w.open = "" // over, or no longer kept
	return nil
}
