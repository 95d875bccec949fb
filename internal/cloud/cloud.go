// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package cloud is what a builder sees of a cloud.
//
// It belongs to its consumers, the launch loop and the build phases, and names
// only what they need: ask for a machine, look one up, wait for it, make an
// image of it, remove both. An adapter (internal/oci) implements
// it and keeps everything else about its cloud to itself.
package cloud

import (
	"context"
	"errors"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// Verdict is an error of a cloud, understood.
type Verdict struct {
	// Result has one sentence for people as its reason: what happened, in the
	// cloud's terms, with its code and request id.
	capacity.Result
	// Ambiguous means that the request may have taken effect all the same: the
	// reply was lost, or came from something in between.
	Ambiguous bool
	// Page is the page about it, if there is one.
	Page help.Page
}

// Reporter is a cloud that can be asked what is free.
type Reporter interface {
	// Report asks once what is free. A reply without hints says why there are
	// none.
	Report(ctx context.Context, q capacity.Ask) capacity.Reply
}

// Plan is what a look at the cloud, before anything costs money, found.
type Plan struct {
	// Offers are where a machine may be asked for, in the order of preference.
	Offers []capacity.Offer
	// Notes are for people: what was left out, what will cost money, each in a
	// sentence.
	Notes []string
	// Worked are offers that gave a machine not long ago, the latest first.
	Worked []capacity.Offer
	// NoAsking means that reports say nothing about these offers.
	NoAsking bool
}

// Outage is the error of a plan that could not be made because the cloud cannot
// be reached for the moment. It says nothing about the build.
type Outage struct{ Err error }

func (e *Outage) Error() string { return e.Err.Error() }

// Unwrap returns why it cannot be reached.
func (e *Outage) Unwrap() error { return e.Err }

// NoRoom is the error of a plan without any offer: the account may have no machine
// there of the forms that are wanted, and nothing else is wrong. Another place may
// do.
type NoRoom struct {
	Err error   // for a build that has no other place
	Why []error // the reasons by themselves
}

func (e *NoRoom) Error() string { return e.Err.Error() }

// Unwrap returns what Error says.
func (e *NoRoom) Unwrap() error { return e.Err }

// Refused is the error of a plan for a build that cannot work.
type Refused struct{ Why error } // every reason

func (e *Refused) Error() string {
	return "this build cannot work, and nothing was started:\n" + e.Why.Error()
}

// Unwrap returns the reasons.
func (e *Refused) Unwrap() error { return e.Why }

// Refuse makes a refusal of problems; nil if there are none.
func Refuse(problems ...error) error {
	if why := errors.Join(problems...); why != nil {
		return &Refused{why}
	}
	return nil
}

// Kept is the error of an image that is finished and stays although the build
// fails: it did not become all that was asked for, and what it was to replace may be
// gone.
type Kept struct{ Err error }

func (e *Kept) Error() string { return e.Err.Error() }

// Unwrap returns what Error says.
func (e *Kept) Unwrap() error { return e.Err }

// Launcher is a cloud as the search for a machine sees it.
type Launcher interface {
	// Launch asks exactly once for a machine on offer and returns its id as
	// soon as the cloud has accepted. The machine is tagged with token.
	// Sending the same token again is safe. A request that is under way is not cut
	// short when ctx ends, and none is sent from then on.
	Launch(ctx context.Context, offer capacity.Offer, token string) (id string, err error)
	// Find returns the ids of the machines that were asked for with token and
	// are not on their way out.
	Find(ctx context.Context, token string) (ids []string, err error)
	// AwaitMachine returns when the machine runs and has an address. If the
	// machine dies or stays stuck on the way, the error says what the cloud
	// gives as the reason, and Classify understands it.
	AwaitMachine(ctx context.Context, id string) error
	// AskTermination asks once for the end of a machine and does not wait for it:
	// before something else is waited for.
	AskTermination(ctx context.Context, id string) error
	// Terminate removes the machine and its disk, and returns when both are
	// gone. A machine that is gone already is no error.
	Terminate(ctx context.Context, id string) error
	// Classify understands an error of the methods above.
	Classify(err error) Verdict
	// Examine looks closer at the verdict on an attempt where requests can tell
	// more than its error did: whether a limit that was reported is true.
	Examine(ctx context.Context, offer capacity.Offer, v Verdict) Verdict
}

// Imager is a cloud as the imaging phase sees it.
type Imager interface {
	// StartImage asks for an image of the machine, marked as unfinished. A
	// request that is under way is not cut short when ctx ends; its id is
	// returned all the same.
	StartImage(ctx context.Context, machine, token string) (image string, err error)
	// FindImages returns the ids of the images asked for with token.
	FindImages(ctx context.Context, token string) (ids []string, err error)
	// FinishImage waits until the image is there, completes and verifies it
	// (firmware, shapes it may start on), and marks it as finished. It returns
	// the id of the finished image, which may be another than that of what was
	// asked for: a snapshot, before it was an image. The id is also returned with
	// an error, once it is the one to delete; with a *Kept there is nothing to
	// delete.
	FinishImage(ctx context.Context, image string) (id string, err error)
	// DeleteImage removes an image. One that is gone already is no error.
	DeleteImage(ctx context.Context, image string) error
	// Lost says whether err leaves open if the request took effect.
	Lost(err error) bool
}

// Mortal is a cloud whose machines may end while they are used: spot machines are
// taken back.
type Mortal interface {
	// Gone says why a machine that ran has ended, for people. Nil means that it
	// has not, or that this cannot be told.
	Gone(ctx context.Context, machine string) error
	// AwaitEnd returns what Gone says as soon as it says something. It returns
	// nil when ctx ends, or if the machine is not one that others may end.
	AwaitEnd(ctx context.Context, machine string) error
}

// Cloud is everything that a build needs.
type Cloud interface {
	Launcher
	Imager
	// Address is where the machine's SSH can be reached.
	Address(ctx context.Context, machine string) (string, error)
}
