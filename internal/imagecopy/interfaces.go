// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Form is what the object of a copy is, and how its name ends.
type Form string

// The forms.
const (
	Archive Form = "oci"  // an archive, which says itself what the image is
	VMDK    Form = "vmdk" // a bare disk, of which each import must say it
)

// Source has the image and can bring it into an object.
type Source interface {
	// Describe looks the image up and says why it cannot be copied.
	Describe(ctx context.Context) (cloud.Image, error)
	// Deliver brings the image into the object. It returns when all of it is
	// there as far as the source can tell. That is no proof: Copy looks itself.
	Deliver(ctx context.Context, d Delivery) error
	// Remove deletes the image. None is no error.
	Remove(ctx context.Context) error
}

// Confirmer is what a [Source] may be: one whose object is not the copy's own, so that
// somebody may replace it while it is imported.
type Confirmer interface {
	// Confirm fails if the object is not what Describe found any more, by a
	// *ReplacedError. It is asked after each import, before the image counts.
	Confirm(ctx context.Context) error
}

// Recognizer is what a [Source] may be: one that knows the objects that it made.
type Recognizer interface {
	// Recognize says whether an earlier run of the copy with an id made the object, which
	// is there.
	Recognize(ctx context.Context, object, id string) (bool, error)
}

// Delivery is what a source brings its image into.
type Delivery struct {
	Store  Store
	Object string
	Owner  owner.Build
	Token  string        // retry token of what this run asks for
	Life   time.Duration // of a link that may write the object
	// Again means that an earlier run of this copy was broken off: what it began
	// may be under way, or done.
	Again  bool
	Busy   bool // as Describe found it
	Say    func(format string, args ...any)
	Secret func(string)
	// Progress is told how far it is, in percent; negative if that is not known.
	Progress func(percent float64)
	// Mine says of an upload of the object whether it may be of this copy, by when it was
	// begun by the store's clock. It is nil where nobody else uploads under that name.
	Mine func(begun time.Time) bool
	// Asked is told that the cloud is now asked to write the object. A source whose
	// objects can be recognized need not tell.
	Asked func()
}

// Store is the bucket through which the image travels.
type Store interface {
	// Check says whether the bucket is there and can be used.
	Check(ctx context.Context) error
	// Size is the size of an object; ok is false if there is none.
	Size(ctx context.Context, object string) (size int64, ok bool, err error)
	// Share makes a link to an object, under a name, until expires.
	Share(ctx context.Context, object, name string, access cloud.Access, expires time.Time) (cloud.Link, error)
	// Unshare removes every link of a copy in a role. None is no error.
	Unshare(ctx context.Context, id, role string) error
	// Remove deletes an object and what was uploaded of it. None is no error.
	Remove(ctx context.Context, object string) error
	// Delete is Remove without what was uploaded.
	Delete(ctx context.Context, object string) error
	// Abort removes what was uploaded of an object that did not come to be, if it was begun
	// at a time that is mine, by the store's clock; nil is any time. None is no error.
	Abort(ctx context.Context, object string, mine func(begun time.Time) bool) error

	// Note keeps a note, in place of one of the same name.
	Note(ctx context.Context, n cloud.Note) error
	// Notes lists the notes of all copies.
	Notes(ctx context.Context) ([]cloud.Note, error)
	// Forget removes a note. None is no error.
	Forget(ctx context.Context, name string) error
	// Now is what time it is by the store's own clock, which its last reply told; zero
	// if none has.
	Now() time.Time
}

// Destination is one tenancy and region to which the image goes.
type Destination interface {
	// Name is how the destination is called in messages.
	Name() string
	// Check says, before anything is exported, why an import cannot work. room
	// says that another image is going to be made.
	Check(ctx context.Context, room bool) error
	// Images lists the images that are where the copy is to be.
	Images(ctx context.Context) ([]cloud.Found, error)
	// Import starts to read the image from the link. A request that is under
	// way is not cut short when ctx ends; the image's id is returned all the
	// same.
	Import(ctx context.Context, i cloud.Import) (image, job string, err error)
	// AwaitImport waits for the import and makes the image fit for the machines
	// that it is for. Without a job it is looked up.
	AwaitImport(ctx context.Context, image, job string, progress func(percent float64)) error
	// Pend gives an image that is not finished its name, and notes if it was started
	// and did not pass.
	Pend(ctx context.Context, image string, i cloud.Import, failed bool) error
	// Seal marks the image as finished.
	Seal(ctx context.Context, image string, i cloud.Import) error
	// Delete removes an image. None is no error.
	Delete(ctx context.Context, image string) error
	// Lost says whether err leaves open if the request took effect.
	Lost(err error) bool
	// Refused says whether err is about where the image is read from, so that
	// another route may do. A *cloud.FormError is not.
	Refused(err error) bool
}

// Way is a bucket nearer to a destination, and how the object gets there.
type Way interface {
	// Route is its name: "copy-object", "relay".
	Route() string
	Store
	// Bring brings the object that is behind the link into the bucket, under the
	// name of as. What an earlier run brought of it may be used.
	Bring(ctx context.Context, object string, from cloud.Link, as string, progress func(percent float64)) error
}

// Verifier proves by starting it that an image in a destination is what it should
// be.
type Verifier interface {
	// By names what images are verified by: the same for the same checks.
	By() string
	// Tidy removes what an earlier run of the same copy left.
	Tidy(ctx context.Context) error
	// Check says, before anything is exported, why it could not be done.
	Check(ctx context.Context) error
	// Verify proves it. Nothing that it made is left when it returns, or the error
	// says so, which is a *Left if the image is good. An error is an *Untried if it
	// could not be looked at the image at all.
	Verify(ctx context.Context, image string) (cloud.Verified, error)
}

// Retainer keeps the last copies of a series in a destination, and no more.
type Retainer interface {
	// CheckRetain says, before anything is exported, why that cannot be done.
	CheckRetain(source cloud.Image) error
	// Retain deletes what there is beyond that, once the copy is finished.
	Retain(ctx context.Context, made string, source cloud.Image) error
}

// Target is a destination and the routes that may lead to it.
type Target struct {
	Destination
	// Key tells destinations apart: equal keys are the same place and name.
	Key string
	// Name of the image; empty is that of the source.
	ImageName string
	// Direct imports from the source's own bucket. The Ways are tried after it,
	// in their order.
	Direct bool
	Ways   []Way
	Verify Verifier // may be nil
	Retain Retainer // may be nil
	// KeepUnverified leaves an image where it is that did not pass its
	// verification, unfinished and under a name that says so; the next run of the
	// copy verifies it again. Else it is deleted. One that could not be looked at
	// always stays like that.
	KeepUnverified bool
}

// Conflict is what to do about an image of the same name in a destination.
type Conflict string

// The rules.
const (
	// Skip takes an image that is a finished copy of the same source as the
	// result, unless it travelled in another form: that is an error. Other images of
	// the name stay beside the new one.
	Skip Conflict = "skip"
	// Fail ends the copy before it begins.
	Fail Conflict = "fail"
	// Replace deletes the images that had the name, once the new one is finished.
	Replace Conflict = "replace"
)
