// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Exporter is a cloud that writes an image to a link on its own.
type Exporter interface {
	// Describe looks the image up and says whether it can be exported.
	Describe(ctx context.Context) (cloud.Image, error)
	// Export starts writing the image to the link's object. job identifies it.
	Export(ctx context.Context, to cloud.Link, token string) (job string, err error)
	// LastExport is the job of the latest export; empty if none is known.
	LastExport(ctx context.Context) (job string)
	// AwaitExport returns when the image is not being exported any more and the
	// job, if there is one, has not failed.
	AwaitExport(ctx context.Context, job string, progress func(percent float64)) error
	// Remove deletes the image. None is no error.
	Remove(ctx context.Context) error
}

// Exported is the source of an image that its cloud exports.
type Exported struct{ Exporter }

// Deliver implements Source.
func (e Exported) Deliver(ctx context.Context, d Delivery) error {
	if d.Again {
		done, err := e.takeUp(ctx, d)
		if done || err != nil {
			return err
		}
	} else if d.Busy {
		d.Say("The image is being exported by somebody else, that is waited for")
		if err := e.AwaitExport(ctx, "", d.Progress); err != nil {
			return err
		}
	}
	to, err := d.Store.Share(ctx, d.Object, d.Owner.Name(owner.RoleExport), cloud.Write, time.Now().Add(d.Life))
	if err != nil {
		return err
	}
	d.Secret(to.URL)
	d.Say("Exporting the image to the object %s", d.Object)
	d.Asked()
	job, err := e.Export(ctx, to, d.Token)
	if err != nil {
		return err
	}
	if err := e.AwaitExport(ctx, job, d.Progress); err != nil {
		return err
	}
	return d.Store.Unshare(ctx, d.Owner.ID, owner.RoleExport)
}

// takeUp waits for the export of an earlier run and says whether it did what it
// should.
func (e Exported) takeUp(ctx context.Context, d Delivery) (bool, error) {
	err := e.AwaitExport(ctx, e.LastExport(ctx), d.Progress)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	size, there, serr := d.Store.Size(ctx, d.Object)
	switch {
	case serr != nil:
		return false, serr
	case err == nil && there && size > 0:
		d.Say("The export of an earlier run is used")
		return true, d.Store.Unshare(ctx, d.Owner.ID, owner.RoleExport)
	case there && ours(d.Object):
		return false, d.Store.Remove(ctx, d.Object)
	case there: // what is uploaded under a name that the template chose may be anybody's
		return false, d.Store.Delete(ctx, d.Object)
	}
	return false, nil
}
