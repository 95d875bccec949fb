// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicapture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Machines is a build on another cloud than OCI: what a fleet, and the phases behind it,
// ask of a site. It makes no image.
type Machines interface {
	fleet.Site
	cloud.Sundries
	cloud.Mortal
	// Leftovers is what builds like this one may have left there.
	Leftovers() []sweep.Cloud
	// Extend says until when what is made from now on may be needed.
	Extend(until time.Time)
	// Origin is the image that machines start from, once Plan has found it.
	Origin() (id, name string)
	// Beside are the disks that machines have beside that of the root file system, once
	// Plan has found the image. They are not captured.
	Beside() []string
}

// Target is where captured disks of another cloud go.
type Target struct {
	Bucket *oci.Bucket
	// Option is what names the bucket, for messages.
	Option string
	Owner  owner.Build
	// Swept says that a place on OCI, which is in the same fleet, sweeps the bucket.
	Swept bool
}

// Away is a build on another cloud whose machines' disks become objects on OCI. It
// implements Place.
type Away struct {
	Machines
	to Target
	// first is the one among the regions of a cloud that sweeps the bucket, which they
	// share, and says what is wrong with it.
	first bool
	look  *look

	until time.Time         // when what is made from now on expires, if that is later
	tags  map[string]string // that the image is to have
}

// look is what was seen of the bucket, for all regions of a plan, by whichever was first
// to ask.
type look struct {
	mu    sync.Mutex
	asked map[*Away]bool // the regions that know of it
	err   error
}

// at looks at the bucket, once for all regions. A region that asks again plans again, so
// it is looked at again: somebody may have mended it (-on-error=ask).
func (l *look) at(ctx context.Context, a *Away) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) == 0 || l.asked[a] {
		l.asked = map[*Away]bool{}
		l.err = a.to.Bucket.CheckCapture(ctx, a.to.Option)
	}
	l.asked[a] = true
	return l.err
}

// Capturing are the places of another cloud, whose sites are Machines, with a bucket that
// gets the disks of their machines.
func Capturing(places []fleet.Place, to Target) (all []fleet.Place) {
	shared := &look{}
	for i, p := range places {
		p.Site = &Away{Machines: p.Site.(Machines), to: to, first: i == 0, look: shared, tags: map[string]string{}}
		all = append(all, p)
	}
	return all
}

// Plan implements fleet.Site: the bucket is looked at as well, at the same time.
func (a *Away) Plan(ctx context.Context) (cloud.Plan, error) {
	var wrong error
	var looking sync.WaitGroup
	looking.Go(func() { wrong = a.look.at(ctx, a) })
	plan, err := a.Machines.Plan(ctx)
	looking.Wait()
	// One region says what is wrong for all of them; where nobody answers, none can go on.
	if !a.first && !errors.As(wrong, new(*cloud.Outage)) {
		wrong = nil
	}
	if err := both(err, wrong); err != nil {
		return cloud.Plan{}, err
	}
	b := a.to.Bucket
	note := fmt.Sprintf("The disk is captured into the bucket %q in %s of OCI: whoever imports it needs room for an image", b.Bucket, b.Region)
	if beside := a.Beside(); len(beside) > 0 {
		note += fmt.Sprintf("; only the root file system's disk is, and not %s", strings.Join(beside, ", "))
	}
	plan.Notes = append(plan.Notes, note)
	return plan, nil
}

// both is what is wrong with the machines, and with the bucket. If the machines' plan
// could not be made for a reason that hides everything else, that is all there is to say.
func both(machines, bucket error) error {
	if machines == nil || bucket == nil {
		return errors.Join(machines, bucket)
	}
	var there, here *cloud.Refused
	if !errors.As(machines, &there) || !errors.As(bucket, &here) {
		return machines
	}
	all := cloud.Refuse(there.Why, here.Why)
	var outage *cloud.Outage
	var none *cloud.NoRoom
	if errors.As(bucket, &outage) && (errors.As(machines, &outage) || errors.As(machines, &none)) {
		return &cloud.Outage{Err: all}
	}
	return all
}

// Leftovers implements phase.Site: those of the machines, and what captures of builds
// that were killed left in the bucket.
func (a *Away) Leftovers() []sweep.Cloud {
	all := a.Machines.Leftovers()
	if a.first && !a.to.Swept {
		all = append(all, oci.BucketLeftovers{Bucket: a.to.Bucket})
	}
	return all
}

// Extend implements phase.Site.
func (a *Away) Extend(until time.Time) {
	if until = until.UTC().Truncate(time.Second); until.After(a.until) {
		a.until = until
	}
	a.Machines.Extend(until)
}

// TagImage implements cloud.Tagger: there is no image that could have tags, and what they
// say is the artifact's.
func (a *Away) TagImage(tags map[string]string) error {
	maps.Copy(a.tags, tags)
	return nil
}

// Captures implements Place.
func (*Away) Captures() bool { return true }

// CaptureBucket implements Place.
func (a *Away) CaptureBucket() *oci.Bucket { return a.to.Bucket }

// BeginCapture implements Place. The object is needed for as long as what else the build
// makes now.
func (a *Away) BeginCapture(ctx context.Context, object string, direct bool, life time.Duration, secret func(string)) (*oci.Captured, error) {
	o := a.to.Owner
	if a.until.After(o.Expires) {
		o.Expires = a.until
	}
	return a.to.Bucket.Capture(ctx, o, object, direct, life, secret)
}

// System implements Place: nothing but the name of the image says it.
func (a *Away) System() (name, version string) {
	_, image := a.Origin()
	return oci.SystemOf(image)
}

// BaseImage implements Place.
func (a *Away) BaseImage() string {
	id, _ := a.Origin()
	return id
}

// ImageTag implements Place.
func (a *Away) ImageTag(key string) string { return a.tags[key] }
