// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// objectPrefix begins the names of objects that this plugin chose.
const objectPrefix = "armfree-copy-"

// ObjectName names the object of a copy after its source image, the copy, and what the
// object is.
func ObjectName(image string, copied owner.Build, f Form) string {
	tail := image[strings.LastIndexByte(image, '.')+1:]
	return objectPrefix + tail[max(0, len(tail)-12):] + "-" + copied.ID + "." + string(cmp.Or(f, Archive))
}

// capturedPrefix begins the names of disks that were captured, and which end with the
// build that did so.
const capturedPrefix = "armfree-capture-"

func captured(object string) bool { return strings.HasPrefix(object, capturedPrefix) }

func ours(object string) bool { return strings.HasPrefix(object, objectPrefix) }

// standing is what a destination has already.
type standing struct {
	done  string        // a finished image that is the result
	has   cloud.Found   // that image
	begun []cloud.Found // what an earlier run began
	older []cloud.Found // others of the same name
}

// check finds every reason why the copy cannot work before it costs anything,
// and what there is of it already.
func (c *Copy) check(ctx context.Context) ([]standing, error) {
	img, err := c.Source.Describe(ctx)
	errs := []error{err}
	c.image = img
	if err == nil && c.SizeLimitGB > 0 && img.SizeGB > c.SizeLimitGB {
		errs = append(errs, fmt.Errorf("size_limit_in_gbs: image %s has %d GB, and the limit is %d (the free Object Storage has 20 GB); raise the limit, or set it to -1 for none", img.ID, img.SizeGB, c.SizeLimitGB))
	}
	errs = append(errs, c.checkStore(ctx))
	have := make([]standing, len(c.Targets))
	bad := make([]error, len(c.Targets))
	var wg sync.WaitGroup
	for i, t := range c.Targets {
		wg.Go(func() {
			var err error
			if have[i], err = c.look(ctx, t, img); err == nil {
				err = t.Check(ctx, have[i].done == "" && len(have[i].begun) == 0)
			}
			for _, w := range t.Ways {
				if !t.Direct && err == nil {
					if werr := w.Check(ctx); werr != nil {
						err = fmt.Errorf("route %s: %w", w.Route(), werr)
					}
				}
			}
			if err == nil && t.Retain != nil {
				err = t.Retain.CheckRetain(img)
			}
			if err == nil && t.Verify != nil {
				err = checkVerify(ctx, t, have[i])
			}
			if err != nil {
				bad[i] = fmt.Errorf("destination %s: %w", t.Name(), err)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := errors.Join(append(errs, bad...)...); err != nil {
		return nil, fmt.Errorf("this copy cannot work, and nothing was started:\n%w", err)
	}
	return have, nil
}

// checkVerify says why an image could not be verified. A machine that an earlier run
// could not remove costs money, also if there is nothing to verify any more.
func checkVerify(ctx context.Context, t Target, h standing) error {
	err := t.Verify.Tidy(ctx)
	if err == nil && !proven(t, h) {
		err = t.Verify.Check(ctx)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// checkStore looks at the bucket, and whether an earlier run was broken off.
func (c *Copy) checkStore(ctx context.Context) error {
	if err := c.Store.Check(ctx); err != nil {
		return err
	}
	notes, err := c.Store.Notes(ctx)
	if err != nil {
		return err
	}
	for _, n := range notes {
		b, _, err := owner.ParseName(n.Name)
		if err != nil || n.Object != c.Object {
			continue
		}
		if c.Given && strings.HasSuffix(n.Object, "-"+b.ID+".oci") {
			return fmt.Errorf("the capture that made the object %q did not come to its end, or is under way: capture the disk again", c.Object)
		}
		if b.ID != c.Owner.ID && c.Given {
			continue // several may read it
		}
		if b.ID != c.Owner.ID {
			return fmt.Errorf("another copy, which is under way or was broken off, uses the object %q; choose another object_name", c.Object)
		}
		c.again = true
	}
	if c.again {
		c.Say("An earlier run of this copy was broken off: what it left is used")
	}
	r, knows := c.Source.(Recognizer)
	if c.Given || c.again && (!knows || ours(c.Object)) {
		return nil
	}
	_, there, err := c.Store.Size(ctx, c.Object)
	if err != nil || !there {
		return err
	}
	if !c.again {
		return fmt.Errorf("the object %q exists already and would be overwritten; choose another object_name or delete it", c.Object)
	}
	// It would be removed in the end, and may be anybody's.
	made, err := r.Recognize(ctx, c.Object, c.Owner.ID)
	if err == nil && !made {
		err = fmt.Errorf("the object %q is none that an earlier run of this copy made; choose another object_name or delete it", c.Object)
	}
	return err
}

// look sorts the images of a destination.
func (c *Copy) look(ctx context.Context, t Target, img cloud.Image) (s standing, err error) {
	images, err := t.Images(ctx)
	if err != nil {
		return s, err
	}
	mark := c.mark(t)
	name := t.ImageName
	if name == "" {
		name = img.Name
	}
	var other error
	for _, f := range images {
		finished := f.Ready && f.Mark != "" && !f.Unfinished
		copied := c.Conflict == Skip && finished && f.Name == name && f.Source == img.ID && img.ID != ""
		switch {
		case f.Mark == mark && f.Unfinished:
			s.begun = append(s.begun, f)
		case f.Mark == mark && c.again && finished, copied && c.formed(f, mark):
			if s.done == "" {
				s.done, s.has = f.ID, f
			}
		case copied:
			other = c.otherForm(f)
		case f.Name == name && name != "":
			s.older = append(s.older, f)
		}
	}
	if s.done == "" && other != nil {
		return s, other
	}
	for _, f := range s.begun {
		if f.Failed && t.Verify == nil {
			return s, fmt.Errorf("image %s (%s) is of an earlier run of this copy and did not pass its verification. It is not taken without one: delete it, or put the block verify back", f.ID, f.Name)
		}
	}
	if c.Conflict == Fail && len(s.older) > 0 {
		return s, fmt.Errorf("there is an image %q already (%s), and image_name_conflict is \"fail\"", name, s.older[0].ID)
	}
	return s, nil
}

// formed says whether a finished image is of what this copy would make it of. That of the
// very same copy is; one that does not say so, which an earlier version made, is unless the
// template asks for a form.
func (c *Copy) formed(f cloud.Found, mark string) bool {
	return f.Mark == mark || f.Form == string(c.form()) || f.Form == "" && !c.FormGiven
}

func (c *Copy) form() Form { return cmp.Or(c.Form, Archive) }

// otherForm says that an image is in the way that is a copy of the same source in another
// form: whoever asks for this one does not want that one, and it may be in use.
func (c *Copy) otherForm(f cloud.Found) error {
	is := fmt.Sprintf("by image_format = %q", f.Form)
	if f.Form == "" {
		is = "without a note of its image_format"
	}
	return fmt.Errorf("there is an image %q already (%s), a copy of the same source %s, and not by %q, which this copy is to use; set image_name_conflict = \"replace\" to have it replaced, delete it, or give the new one another name", f.Name, f.ID, is, c.form())
}

// mark is what the image of a destination is found by.
func (c *Copy) mark(t Target) string { return c.Owner.Token("import", t.Key) }
