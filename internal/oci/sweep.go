// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Leftovers is one region of a tenancy, for a sweep; it implements sweep.Cloud.
type Leftovers struct {
	*Client
	// Compartments are those that are looked into; none means all that this user may
	// see.
	Compartments []string
	// Bastions and Buckets say that those are looked for, too.
	Bastions, Buckets bool
	// Bucket, if it has a name, is looked into whether or not all are.
	Bucket CaptureConfig

	mu      sync.Mutex
	volumes map[string][]string // of instances that were asked to go
}

// Leftovers is what builds like this one may have left where it takes place: in its
// compartments, and by the services that it uses.
func (b *Build) Leftovers() []sweep.Cloud {
	l := &Leftovers{Client: b.Client, Compartments: []string{b.cfg.Compartment}}
	if c := b.cfg.Image.Compartment; c != "" && c != b.cfg.Compartment {
		l.Compartments = append(l.Compartments, c)
	}
	l.Bastions = b.cfg.Bastion != nil && b.cfg.Bastion.ID == ""
	if c := b.cfg.Image.Capture; c.Method == CaptureDisk || c.Method == AutoMethod {
		l.Bucket = c
	}
	return []sweep.Cloud{l}
}

// Place implements sweep.Cloud.
func (l *Leftovers) Place() string { return "oci " + l.Region }

// In are the compartments that are looked into.
func (l *Leftovers) In() []string { return l.Compartments }

// List implements sweep.Cloud.
func (l *Leftovers) List(ctx context.Context) (sweep.Listing, error) {
	in := l.Compartments
	if len(in) == 0 {
		all, err := l.compartments(ctx)
		if err != nil {
			return sweep.Listing{}, err
		}
		in = append([]string{l.Tenancy}, all...)
	}
	lists := map[sweep.Kind]func(ctx context.Context, compartment string, see func(sweep.Thing)) error{
		sweep.Instance: l.listInstances, sweep.Image: l.listImages, sweep.Schema: l.listSchemas,
	}
	if l.Bastions {
		lists[sweep.Bastion] = l.listBastions
	}
	switch {
	case l.Buckets:
		lists[sweep.Object] = l.listBuckets
	case l.Bucket.Bucket != "":
		lists[sweep.Object] = func(ctx context.Context, compartment string, see func(sweep.Thing)) error {
			if compartment != in[0] { // a bucket is known by its name, wherever it is
				return nil
			}
			return l.listBucket(ctx, see)
		}
	}
	var out sweep.Listing
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := 0
	for kind, list := range lists {
		wg.Go(func() {
			var errs []error
			for _, c := range in {
				if err := list(ctx, c, func(t sweep.Thing) {
					mu.Lock()
					defer mu.Unlock()
					out.Things = append(out.Things, t)
				}); err != nil {
					errs = append(errs, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(errs) < len(in) {
				seen++
			}
			if len(errs) > 0 {
				out.Blind = append(out.Blind, blind(kind, errs, len(in)))
			}
		})
	}
	wg.Wait()
	if seen == 0 {
		return sweep.Listing{}, fmt.Errorf("nothing can be listed in %s: %w", l.Region, out.Blind[0].Err)
	}
	l.forgetDeadImages(ctx, out.Things)
	out.Now = l.now()
	return out, nil
}

// blind is a kind that could not be listed in some compartments.
func blind(kind sweep.Kind, errs []error, of int) sweep.Blind {
	b := sweep.Blind{Kind: kind, Err: errs[0], Refused: true}
	for _, err := range errs {
		b.Refused = b.Refused && (missing(err) || status(err) == http.StatusForbidden)
	}
	if of > 1 {
		b.Err = fmt.Errorf("in %d of %d compartments: %w", len(errs), of, errs[0])
	}
	return b
}

// status is the HTTP status of an error reply.
func status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// thing is a resource with our tag, or without.
func thing(kind sweep.Kind, id, name *string, tags map[string]string, created *common.SDKTime, in string) sweep.Thing {
	t := sweep.Thing{Kind: kind, ID: text(id), Name: text(name), In: in, Created: moment(created)}
	var err error
	t.Mark, err = owner.ParseTag(tags[owner.Key])
	t.Ours = err == nil
	return t
}

func (l *Leftovers) listInstances(ctx context.Context, compartment string, see func(sweep.Thing)) error {
	return l.instances(ctx, compartment, func(i core.Instance) {
		if !ended(i.LifecycleState) {
			see(thing(sweep.Instance, i.Id, i.DisplayName, i.FreeformTags, i.TimeCreated, compartment))
		}
	})
}

// listImages leaves out what is everybody's.
func (l *Leftovers) listImages(ctx context.Context, compartment string, see func(sweep.Thing)) error {
	return cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images", "", func(ctx context.Context) (err error) {
			r, err = l.compute.ListImages(shield(ctx), core.ListImagesRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if i.CompartmentId != nil && i.LifecycleState != core.ImageLifecycleStateDeleted {
				see(thing(sweep.Image, i.Id, i.DisplayName, i.FreeformTags, i.TimeCreated, compartment))
			}
		}
		return r.OpcNextPage, err
	})
}

func (l *Leftovers) listSchemas(ctx context.Context, compartment string, see func(sweep.Thing)) error {
	return cloud.Pages(func(page *string) (*string, error) {
		var r core.ListComputeImageCapabilitySchemasResponse
		err := repeat(ctx, "list capability schemas", "", func(ctx context.Context) (err error) {
			r, err = l.compute.ListComputeImageCapabilitySchemas(shield(ctx), core.ListComputeImageCapabilitySchemasRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			t := thing(sweep.Schema, i.Id, i.DisplayName, i.FreeformTags, i.TimeCreated, compartment)
			if i.ImageId != nil {
				t.UsedBy = []string{*i.ImageId}
			}
			see(t)
		}
		return r.OpcNextPage, err
	})
}

// forgetDeadImages finds out which schemas have lost their image: one that is not
// listed may be in a compartment that was not looked into.
func (l *Leftovers) forgetDeadImages(ctx context.Context, things []sweep.Thing) {
	listed := map[string]bool{}
	for _, t := range things {
		listed[t.ID] = t.Kind == sweep.Image
	}
	for i, t := range things {
		if t.Kind != sweep.Schema || !t.Ours || len(t.UsedBy) == 0 || listed[t.UsedBy[0]] {
			continue
		}
		// 404 may be a permission that is not there: the schema stays then.
		if img, err := l.image(ctx, t.UsedBy[0]); err == nil && img.state == core.ImageLifecycleStateDeleted {
			things[i].UsedBy = nil
		}
	}
}

func (l *Leftovers) listBastions(ctx context.Context, compartment string, see func(sweep.Thing)) error {
	return cloud.Pages(func(page *string) (*string, error) {
		var r bastion.ListBastionsResponse
		err := repeat(ctx, "list bastions", "", func(ctx context.Context) (err error) {
			r, err = l.bastion.ListBastions(shield(ctx), bastion.ListBastionsRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if i.LifecycleState != bastion.BastionLifecycleStateDeleted && i.LifecycleState != bastion.BastionLifecycleStateDeleting {
				see(thing(sweep.Bastion, i.Id, i.Name, i.FreeformTags, i.TimeCreated, compartment))
			}
		}
		return r.OpcNextPage, err
	})
}

// Remove implements sweep.Cloud.
func (l *Leftovers) Remove(ctx context.Context, t sweep.Thing) error {
	id := t.ID
	switch t.Kind {
	case sweep.Instance:
		vols, err := l.terminate(ctx, id, t.In)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.volumes == nil {
			l.volumes = map[string][]string{}
		}
		l.volumes[id] = vols
		return err
	case sweep.Image:
		return l.removeImage(ctx, t)
	case sweep.Schema:
		return deleted(ctx, "capability schema", id, func(ctx context.Context) error {
			_, err := l.compute.DeleteComputeImageCapabilitySchema(shield(ctx), core.DeleteComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: &id, RequestMetadata: once()})
			return err
		}, func(ctx context.Context) error {
			_, err := l.compute.GetComputeImageCapabilitySchema(shield(ctx), core.GetComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: &id, RequestMetadata: once()})
			return wrap("get capability schema", id, err)
		})
	case sweep.Bastion:
		return nil // asked for and waited for in one, see Gone
	case sweep.Link, sweep.Upload, sweep.Object, sweep.Note:
		return l.removeStored(ctx, t)
	}
	return fmt.Errorf("OCI has no %s", t.Kind)
}

// removeImage deletes an image that still has the mark that was listed. If its build
// marks it as finished between the look and the deletion, OCI refuses the latter.
func (l *Leftovers) removeImage(ctx context.Context, t sweep.Thing) error {
	id := t.ID
	for {
		img, err := l.image(ctx, id)
		if missing(err) || err == nil && img.state == core.ImageLifecycleStateDeleted {
			return nil
		}
		if err != nil {
			return err
		}
		mark, perr := owner.ParseTag(img.tags[owner.Key])
		if is := perr == nil; is != t.Ours || mark.String() != t.Mark.String() {
			return &sweep.Changed{Mark: mark, Ours: is}
		}
		err = deleted(ctx, "image", id, func(ctx context.Context) error {
			_, err := l.compute.DeleteImage(shield(ctx), core.DeleteImageRequest{ImageId: &id, IfMatch: &img.etag, RequestMetadata: once()})
			return err
		}, func(ctx context.Context) error {
			img, err := l.image(ctx, id)
			if err == nil && img.state == core.ImageLifecycleStateDeleted {
				return errGone
			}
			return err
		})
		if status(err) != http.StatusPreconditionFailed {
			return err
		}
		if err := wait.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// errGone says that a thing that still has a record is gone.
var errGone = errors.New("it is gone")

// deleted deletes something. That a deletion finds nothing is believed only if look
// finds nothing either: a permission that is not there gives the same answer.
func deleted(ctx context.Context, kind, id string, call, look func(context.Context) error) error {
	err := repeat(ctx, "delete "+kind, id, call)
	if !missing(err) {
		return err
	}
	if lerr := repeatIf(ctx, "get "+kind, id, passing, look); lerr == nil {
		return fmt.Errorf("this user may not delete it: %w", err)
	}
	return nil
}

// Gone implements sweep.Cloud.
func (l *Leftovers) Gone(ctx context.Context, t sweep.Thing) error {
	switch t.Kind {
	case sweep.Instance:
		l.mu.Lock()
		vols := slices.Clone(l.volumes[t.ID])
		l.mu.Unlock()
		return l.terminated(ctx, t.ID, vols)
	case sweep.Bastion:
		return l.deleteBastion(ctx, t.ID)
	}
	return nil
}
