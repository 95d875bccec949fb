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
// A copy that was killed is taken up by the next run of the same copy. Nothing
// is kept on the computer that it runs on: the identity of a copy is made from
// its source and its destinations, so everything that it makes has the same
// marks again, and a note in the bucket, written first and removed last, says
// that an earlier run did not come to its end.
//
// The steps are here, the clouds behind narrow interfaces, so that a test can
// stop a copy between any two of them.
package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Copy is one image on its way.
type Copy struct {
	Source  Source
	Store   Store
	Targets []Target
	Object  string // in the bucket
	Form    Form   // what the object is; default Archive
	// FormGiven means that the template asks for that form: a finished image that does
	// not say in which it came is not taken for this copy's.
	FormGiven bool
	// Owner is the identity of the copy: the same each time that the same copy is
	// made. ThisRun tells the runs apart.
	Owner, ThisRun owner.Build

	Conflict Conflict
	// Given means that the object is the image itself: it is there, and it stays.
	Given        bool
	SizeLimitGB  int64 // of the source; 0 is none
	RemoveSource bool  // once every destination is verified

	WriteLife, ReadLife time.Duration // how long links may live
	Cleanup             time.Duration // limit for removing everything
	// Grace is how long after its time is over another copy is still left alone.
	Grace  time.Duration
	Say    func(format string, args ...any)
	Warn   func(format string, args ...any)
	Secret func(string) // is told every URL before it is used

	image cloud.Image
	again bool // an earlier run was broken off
	asked bool // the cloud was asked to write the object; read once that is over
	// silent means that the object, which this run made, does not say so, as it should.
	silent bool
	read   lazy // the link to the object, which is made when it is first needed
	board  board
	found  ledger
	lost   lostImports
	// reading are the destinations that may still read the object.
	reading readers
	cleared bool // links and objects are gone; read once nobody reads any more
}

// lazy is a link that is made when somebody first asks for it. Who asks meanwhile
// waits on a channel, and not on a lock: a test in virtual time sees that.
type lazy struct {
	once sync.Once
	done chan struct{}
	link cloud.Link
	err  error
}

func (l *lazy) get(make func() (cloud.Link, error)) (cloud.Link, error) {
	l.once.Do(func() {
		go func() {
			l.link, l.err = make()
			close(l.done)
		}()
	})
	<-l.done
	return l.link, l.err
}

// Result is how a copy to one destination ended.
type Result struct {
	Destination string
	Image       string // set only if the image is finished
	Name        string // of the image
	Route       string // how it came: "direct", "copy-object", "relay"; empty if it was there
	// Verified is how the image was verified by starting it, if it was.
	Verified *cloud.Verified
	// Unverified is an image that stays although it did not pass.
	Unverified string
	// Left is what verifying the image left behind, of which the image is none the
	// worse. The run fails at its end.
	Left error
	Took time.Duration
	Err  error
}

// Run copies the image. The results have the order of Targets; the error
// joins theirs, or says what went wrong before any import. Destinations that
// succeeded keep their image even if others fail.
func (c *Copy) Run(ctx context.Context) (results []Result, err error) {
	have, err := c.check(ctx)
	if err != nil {
		return nil, err
	}
	c.read.done = make(chan struct{})
	results = make([]Result, len(c.Targets))
	todo, unproven := 0, 0
	for i, h := range have {
		results[i] = Result{Destination: c.Targets[i].Name(), Name: c.nameIn(c.Targets[i]), Image: h.done, Verified: h.has.Verified}
		if h.done == "" {
			todo++
			continue
		}
		if !proven(c.Targets[i], h) {
			unproven++
			continue
		}
		c.Say("%s: image %s is a finished copy of %s already", c.Targets[i].Name(), h.done, c.image.ID)
		c.succeed(ctx, c.Targets[i], h, h.done)
	}
	if todo > 0 || c.again {
		// From here on there may be something to remove.
		defer func() {
			if cerr := c.cleanup(ctx); cerr != nil {
				c.Warn("Cleanup: %v", cerr)
			}
			if cerr := c.settle(ctx); cerr != nil {
				c.Warn("Cleanup: %v", cerr)
			}
		}()
	}
	if todo > 0 {
		if err := c.Store.Note(ctx, cloud.Note{Name: c.Owner.Name(owner.RoleCopy), Object: c.Object, Given: c.Given}); err != nil {
			return nil, fmt.Errorf("the bucket cannot be written to, and nothing was started: %w", err)
		}
	}
	if todo+unproven > 0 {
		for i, h := range have {
			c.reading.add(i, h.done == "")
		}
		stop := c.board.show(ctx, c.Say)
		c.each(ctx, have, results)
		stop()
	}
	if err := failures(results); err != nil {
		return results, err
	}
	if !c.RemoveSource {
		return results, nil
	}
	c.Say("Deleting the source image %s: every destination has its copy", c.image.ID)
	if err := c.Source.Remove(ctx); err != nil {
		return results, fmt.Errorf("every destination has its image, but the source image %s could not be deleted: %w", c.image.ID, err)
	}
	return results, nil
}

// Image is what was found of the source image.
func (c *Copy) Image() cloud.Image { return c.image }

func failures(results []Result) error {
	var errs []error
	told := false
	for _, r := range results {
		var none *DeliveryError
		if errors.As(r.Err, &none) {
			if !told {
				errs = append(errs, none)
			}
			told = true
			continue
		}
		errs = append(errs, r.Err, r.Left)
	}
	return errors.Join(errs...)
}

// DeliveryError says that no destination can have the image, since it did not become an
// object. It is told once, however many destinations there are.
type DeliveryError struct{ Err error }

func (e *DeliveryError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *DeliveryError) Unwrap() error { return e.Err }

// nameIn is the name of the image in a destination.
func (c *Copy) nameIn(t Target) string {
	if t.ImageName != "" {
		return t.ImageName
	}
	return c.image.Name
}

// deliver brings the image into the object, proves that it is there, and makes
// the link that every import reads from.
func (c *Copy) deliver(ctx context.Context) (cloud.Link, error) {
	err := c.export(ctx)
	if err == nil {
		var l cloud.Link
		if l, err = c.share(ctx, c.Store, c.Object); err == nil {
			return l, nil
		}
	}
	return cloud.Link{}, &DeliveryError{err}
}

func (c *Copy) share(ctx context.Context, s Store, object string) (cloud.Link, error) {
	l, err := s.Share(ctx, object, c.Owner.Name(owner.RoleImport), cloud.Read, time.Now().Add(c.ReadLife))
	if err == nil {
		c.Secret(l.URL)
	}
	return l, err
}

// export brings the image into the object. The cloud reports some failed exports
// as finished, so the object is looked at.
func (c *Copy) export(ctx context.Context) error {
	start := time.Now()
	const what = "export"
	c.board.set(what, "waiting")
	defer c.board.drop(what)
	var mine func(time.Time) bool
	r, knows := c.Source.(Recognizer)
	if knows { // the objects of other sources are written by the cloud
		var err error
		if mine, err = c.mine(ctx); err != nil {
			return err
		}
	}
	err := c.Source.Deliver(ctx, Delivery{
		Store: c.Store, Object: c.Object, Owner: c.Owner, Token: c.ThisRun.Token("export", c.image.ID), Life: c.WriteLife,
		Again: c.again, Busy: c.image.Busy, Say: c.Say, Secret: c.Secret,
		Progress: func(p float64) { c.board.set(what, percent(p)) },
		Asked:    func() { c.asked = true }, Mine: mine,
	})
	if err != nil {
		return err
	}
	if knows && !ours(c.Object) {
		made, err := r.Recognize(ctx, c.Object, c.Owner.ID)
		c.silent = err == nil && !made
	}
	size, there, err := c.Store.Size(ctx, c.Object)
	if err != nil {
		return err
	}
	if !there || size == 0 {
		return fmt.Errorf("the export of %s was reported as finished, but there is no object %q: it failed; nothing was imported", c.image.ID, c.Object)
	}
	if c.Given {
		c.Say("The object %s is imported as it is, with %.1f MB", c.Object, float64(size)/1e6)
		return nil
	}
	c.Say("Exported %.1f MB in %s", float64(size)/1e6, time.Since(start).Round(time.Second))
	return nil
}
