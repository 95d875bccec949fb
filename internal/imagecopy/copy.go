// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package imagecopy brings an image from the tenancy that built it into the
// tenancies that need it.
//
// A copy is an export to an object, a link to the object that works without
// credentials (a pre-authenticated request, PAR), and one import for each
// destination, which all read from that one link. Every destination is
// verified before it counts: the image starts by UEFI and may be used on the
// shapes it is for. Whatever the outcome, the links and then the object are
// removed; a link is closed first because it is what others could use.
//
// The steps are here, the clouds behind three narrow interfaces, so that a
// test can stop a copy between any two of them.
package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Source is the tenancy that has the image.
type Source interface {
	// Describe looks the image up and says whether it can be exported.
	Describe(ctx context.Context, image string) (cloud.Image, error)
	// Export starts writing the image to the link's object. job identifies it.
	Export(ctx context.Context, image string, to cloud.Link, token string) (job string, err error)
	// AwaitExport returns when the export has ended well as far as the image
	// and the job tell. That is no proof: the object has to be there too.
	AwaitExport(ctx context.Context, image, job string) error
}

// Store is the bucket through which the image travels.
type Store interface {
	// Check says whether the bucket is there and can be used.
	Check(ctx context.Context) error
	// Size is the size of an object; ok is false if there is none.
	Size(ctx context.Context, object string) (size int64, ok bool, err error)
	// Share makes a link to an object, under a name, until expires.
	Share(ctx context.Context, object, name string, access cloud.Access, expires time.Time) (cloud.Link, error)
	// Unshare removes every link of that name. None is no error.
	Unshare(ctx context.Context, name string) error
	// Remove deletes an object and what was uploaded of it. None is no error.
	Remove(ctx context.Context, object string) error
}

// Destination is one tenancy and region to which the image goes.
type Destination interface {
	// Name is how the destination is called in messages.
	Name() string
	// Check says, before anything is exported, why an import cannot work.
	Check(ctx context.Context) error
	// Import starts to read the image from the link. A request that is under
	// way is not cut short when ctx ends; the image's id is returned all the
	// same.
	Import(ctx context.Context, from cloud.Link, name, token string) (image, job string, err error)
	// FinishImport waits for the import, completes the image and verifies it.
	FinishImport(ctx context.Context, image, job string) error
	// Find returns the ids of the images asked for with token.
	Find(ctx context.Context, token string) ([]string, error)
	// Delete removes an image. None is no error.
	Delete(ctx context.Context, image string) error
	// Lost says whether err leaves open if the request took effect.
	Lost(err error) bool
}

// Copy is one image on its way.
type Copy struct {
	Source       Source
	Store        Store
	Destinations []Destination
	Image        string // the source image's id
	Name         string // of the image in every destination; empty keeps it
	Object       string // in the bucket
	Owner        owner.Build
	LinkLife     time.Duration // how long a link may live
	Cleanup      time.Duration // limit for removing everything
	Say          func(format string, args ...any)
	Warn         func(format string, args ...any)
	Secret       func(string) // is told every URL before it is used
}

// Result is how a copy to one destination ended.
type Result struct {
	Destination string
	Image       string // set only if the image is finished
	Took        time.Duration
	Err         error
}

// The roles in the names of links.
const (
	roleWrite = owner.RoleExport
	roleRead  = owner.RoleImport
)

// Run copies the image. The results have the order of Destinations; the error
// joins theirs, or says what went wrong before any import. Destinations that
// succeeded keep their image even if others fail.
func (c *Copy) Run(ctx context.Context) (results []Result, err error) {
	img, err := c.check(ctx)
	if err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = img.Name
	}
	defer func() {
		if cerr := c.cleanup(ctx); cerr != nil {
			c.Warn("Cleanup: %v", cerr)
		}
	}()
	if err := c.export(ctx); err != nil {
		return nil, err
	}
	from, err := c.share(ctx, roleRead, cloud.Read)
	if err != nil {
		return nil, err
	}
	return c.importAll(ctx, from)
}

// check finds every reason why the copy cannot work before it costs anything.
func (c *Copy) check(ctx context.Context) (cloud.Image, error) {
	img, err := c.Source.Describe(ctx, c.Image)
	errs := []error{err}
	if err := c.Store.Check(ctx); err != nil {
		errs = append(errs, err)
	} else if _, there, err := c.Store.Size(ctx, c.Object); err != nil {
		errs = append(errs, err)
	} else if there {
		errs = append(errs, fmt.Errorf("the object %q exists already and would be overwritten; choose another object_name or delete it", c.Object))
	}
	for _, d := range c.Destinations {
		if err := d.Check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("destination %s: %w", d.Name(), err))
		}
	}
	if err := ctx.Err(); err != nil {
		return img, err
	}
	if err := errors.Join(errs...); err != nil {
		return img, fmt.Errorf("this copy cannot work, and nothing was started:\n%w", err)
	}
	return img, nil
}

// export writes the image to the object and proves that it is there: the cloud
// reports some failed exports as finished.
func (c *Copy) export(ctx context.Context) error {
	start := time.Now()
	to, err := c.share(ctx, roleWrite, cloud.Write)
	if err != nil {
		return err
	}
	c.Say("Exporting %s to the object %s", c.Image, c.Object)
	job, err := c.Source.Export(ctx, c.Image, to, c.Owner.Token("export", c.Image))
	if err != nil {
		return err
	}
	if err := c.Source.AwaitExport(ctx, c.Image, job); err != nil {
		return err
	}
	size, there, err := c.Store.Size(ctx, c.Object)
	if err != nil {
		return err
	}
	if !there || size == 0 {
		return fmt.Errorf("the export of %s was reported as finished, but there is no object %q: it failed; nothing was imported", c.Image, c.Object)
	}
	c.Say("Exported %.1f MB in %s", float64(size)/1e6, time.Since(start).Round(time.Second))
	return c.Store.Unshare(ctx, c.Owner.Name(roleWrite))
}

func (c *Copy) share(ctx context.Context, role string, a cloud.Access) (cloud.Link, error) {
	l, err := c.Store.Share(ctx, c.Object, c.Owner.Name(role), a, time.Now().Add(c.LinkLife))
	if err == nil {
		c.Secret(l.URL)
	}
	return l, err
}

// importAll imports into every destination at the same time.
func (c *Copy) importAll(ctx context.Context, from cloud.Link) ([]Result, error) {
	results := make([]Result, len(c.Destinations))
	var wg sync.WaitGroup
	for i, d := range c.Destinations {
		wg.Go(func() {
			start := time.Now()
			id, err := c.importOne(ctx, i, d, from)
			if err != nil {
				err = fmt.Errorf("destination %s: %w", d.Name(), err)
			}
			results[i] = Result{Destination: d.Name(), Image: id, Took: time.Since(start), Err: err}
		})
	}
	wg.Wait()
	errs := make([]error, 0, len(results))
	for _, r := range results {
		errs = append(errs, r.Err)
	}
	return results, errors.Join(errs...)
}

// lookupGrace is how long an import whose reply was lost is looked for after a
// cancel.
const lookupGrace = 20 * time.Second

// importOne imports into d. A half-made image does not stay.
func (c *Copy) importOne(ctx context.Context, n int, d Destination, from cloud.Link) (string, error) {
	token := c.Owner.Token("import", strconv.Itoa(n), d.Name(), c.Image)
	c.Say("Importing into %s", d.Name())
	id, job, err := d.Import(ctx, from, c.Name, token)
	if err != nil && d.Lost(err) {
		g, cancel := wait.Grace(ctx, lookupGrace)
		defer cancel()
		ids, ferr := d.Find(g, token)
		if ferr != nil {
			return "", fmt.Errorf("the reply to the import was lost (%w) and the image cannot be looked up: %w", err, ferr)
		}
		if len(ids) > 0 {
			id, err = ids[0], nil
		}
	}
	if err != nil {
		return "", err
	}
	if err = ctx.Err(); err == nil {
		c.Say("Image %s is being imported into %s", id, d.Name())
		if err = d.FinishImport(ctx, id, job); err == nil {
			c.Say("Image %s is ready in %s", id, d.Name())
			return id, nil
		}
	}
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	if derr := d.Delete(g, id); derr != nil {
		err = errors.Join(err, fmt.Errorf("the unfinished image %s is left, please delete it by hand: %w", id, derr))
	}
	return "", err
}

// cleanup removes the links and then the object.
func (c *Copy) cleanup(ctx context.Context) error {
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	var errs []error
	for _, role := range []string{roleWrite, roleRead} {
		if err := c.Store.Unshare(g, c.Owner.Name(role)); err != nil {
			errs = append(errs, fmt.Errorf("the pre-authenticated request %s is left: %w", c.Owner.Name(role), err))
		}
	}
	if err := c.Store.Remove(g, c.Object); err != nil {
		errs = append(errs, fmt.Errorf("the object %s is left: %w", c.Object, err))
	}
	return errors.Join(errs...)
}
