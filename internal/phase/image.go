// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/wait"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// MakeImage turns the provisioned machine into an image.
type MakeImage struct {
	UI      packersdk.Ui
	Cloud   cloud.Cloud
	Token   func(parts ...string) string
	Machine *FindMachine
	// Begin, if set, is called before an image is asked for.
	Begin func()

	// ID is the image's, once Run has asked for it.
	ID string

	open   wait.Open // requests for an image whose replies were lost, by token
	unseen []string  // those of which nothing was seen when it should have been
	runs   int
}

// An image is asked for again, with another token, if nothing has come of a request
// whose reply was lost: not every cloud knows a request again by its token.
const (
	imageTries = 3
	imageAgain = 10 * time.Minute // no more than that after the first request
)

// errAgain is why an unfinished image goes before another one is asked for.
var errAgain = errors.New("another image is asked for")

// kind is what an id is the id of, for people: on EC2 an image begins as a snapshot.
func kind(id string) string {
	if strings.HasPrefix(id, "snap-") {
		return "snapshot"
	}
	return "image"
}

// capital begins a sentence.
func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// Name implements Phase.
func (p *MakeImage) Name() string { return "make an image" }

// Run implements Phase.
func (p *MakeImage) Run(ctx context.Context) error {
	// A second run (-on-error=ask) is not to be answered with what the first
	// one made.
	if err := p.Undo(ctx, errAgain); err != nil {
		return err
	}
	p.runs++
	start := time.Now()
	p.UI.Sayf("Making an image of machine %s", p.Machine.ID)
	if p.Begin != nil {
		p.Begin()
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	p.UI.Sayf("%s %s is being made", capital(kind(p.ID)), p.ID)
	id, err := p.Cloud.FinishImage(ctx, p.ID)
	if id != "" {
		p.ID = id
	}
	if kept := (*cloud.Kept)(nil); errors.As(err, &kept) {
		p.ID = ""
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err) // a reply that was lost is not looked for any more
	}
	if err != nil {
		return err
	}
	p.UI.Sayf("Image %s is ready after %s", p.ID, time.Since(start).Round(time.Second))
	return nil
}

// start asks for the image. A lost reply is looked up, never guessed; if nothing has
// come of it the image is asked for again.
func (p *MakeImage) start(ctx context.Context) (err error) {
	begun := time.Now()
	for try := 1; ; try++ {
		parts := []string{"image", p.Machine.ID, strconv.Itoa(p.runs)}
		if try > 1 {
			parts = append(parts, strconv.Itoa(try))
			p.UI.Say("Asking for the image again")
		}
		token := p.Token(parts...)
		p.ID, err = p.Cloud.StartImage(ctx, p.Machine.ID, token)
		if err != nil && p.Cloud.Lost(err) {
			p.ID, err = p.lost().lookUp(ctx, token, err, p.Cloud.FindImages)
		}
		if err != nil && !errors.Is(err, errUnseen) && len(p.unseen) > 0 && ctx.Err() == nil {
			// It may have been refused because of an earlier one, after all.
			if id := p.late(ctx); id != "" {
				p.ID, err = id, nil
			}
		}
		if err == nil {
			return ctx.Err()
		}
		if !errors.Is(err, errUnseen) || ctx.Err() != nil {
			return err
		}
		p.unseen = append(p.unseen, token)
		if try == imageTries || time.Since(begun) > imageAgain {
			return err
		}
	}
}

// late is an image of an earlier request, if it shows up now.
func (p *MakeImage) late(ctx context.Context) (id string) {
	for _, token := range p.unseen {
		p.open.Add(token)
	}
	p.UI.Say("That was refused: looking for what the requests before it made")
	_, err := p.open.Settle(ctx, func(ctx context.Context, token string) (bool, error) {
		ids, err := p.Cloud.FindImages(ctx, token)
		if len(ids) > 0 {
			id = ids[0]
		}
		return id != "", err
	})
	if err != nil {
		log.Printf("[WARN] what earlier requests made cannot be looked for: %v", err)
	}
	return id
}

func (p *MakeImage) lost() lostReplies {
	return lostReplies{UI: p.UI, Open: &p.open, what: "image", by: `image or snapshot whose tag "armfree" has attempt=`}
}

// Made implements Maker.
func (p *MakeImage) Made() (list []string) {
	if p.ID != "" {
		list = append(list, "the unfinished "+kind(p.ID)+" "+p.ID)
	}
	return append(list, p.lost().made()...)
}

// discard removes a finished image that nobody can be told of.
func (p *MakeImage) discard(ctx context.Context, limit time.Duration) error {
	c, cancel := wait.Cleanup(ctx, limit)
	defer cancel()
	p.UI.Sayf("Deleting the image %s: nobody is left who could be told of it", p.ID)
	return p.Cloud.DeleteImage(c, p.ID)
}

// Undo implements Phase: a failed build leaves no image, a half-made one is
// never an artifact.
func (p *MakeImage) Undo(ctx context.Context, failed error) error {
	if failed == nil || p.ID == "" && len(p.open.Keys()) == 0 && len(p.unseen) == 0 {
		return nil
	}
	if !errors.Is(failed, errAgain) {
		// An image that is still being made can only be deleted when it is done.
		// That may take longer than whoever cancels will wait.
		p.Machine.End(ctx)
	}
	ids := []string{p.ID}
	lerr := p.lost().settle(ctx, func(ctx context.Context, token string) ([]string, error) {
		found, err := p.Cloud.FindImages(ctx, token)
		ids = append(ids, found...)
		return found, err
	})
	errs := []error{lerr}
	for _, token := range p.unseen { // it may have come later still
		found, err := p.Cloud.FindImages(ctx, token)
		ids, errs = append(ids, found...), append(errs, err)
	}
	p.unseen = nil
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id == "" {
			continue
		}
		p.UI.Sayf("Deleting the unfinished %s %s", kind(id), id)
		if err := p.Cloud.DeleteImage(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("%s %s could not be deleted, please do so by hand: %w", kind(id), id, err))
			continue
		}
		if id == p.ID {
			p.ID = ""
		}
	}
	return errors.Join(errs...)
}
