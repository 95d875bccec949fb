// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// lostImports are imports whose replies were lost, and of which nobody knows yet what
// they made: that is found out, and removed, at the end.
type lostImports struct {
	mu   sync.Mutex
	list []lostImport
}

type lostImport struct {
	Target
	open *wait.Open // by the mark
}

func (l *lostImports) add(t Target, open *wait.Open) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, lostImport{t, open})
}

// markHint is how the image of an import can be found by hand.
func (c *Copy) markHint(t Target) string {
	return fmt.Sprintf("should there be an image all the same, it is the one whose tag \"armfree\" has attempt=%s; the next run of this copy goes on with it", c.mark(t))
}

// finder looks for the image that an import made, and puts its id where into points.
func (c *Copy) finder(t Target, into *string) func(ctx context.Context, mark string) (bool, error) {
	return func(ctx context.Context, mark string) (bool, error) {
		images, err := t.Images(ctx)
		for _, f := range images {
			if f.Mark == mark && f.Unfinished {
				*into = f.ID
			}
		}
		return *into != "", err
	}
}

// lookUp finds the image of an import whose reply was lost, which a list may show late.
// What a cancel keeps it from, settle does.
func (c *Copy) lookUp(ctx context.Context, t Target, cause error) (id string, err error) {
	open := new(wait.Open)
	open.Add(c.mark(t))
	if ctx.Err() == nil {
		c.Say("%s: the reply to the import was lost: looking for the image that it made for up to %s", t.Name(), wait.Unseen)
	}
	never, err := open.Settle(ctx, c.finder(t, &id))
	switch {
	case id != "":
		return id, nil
	case len(never) > 0:
		return "", fmt.Errorf("the reply to the import was lost, and nothing that it made has shown up; %s: %w", c.markHint(t), cause)
	}
	c.lost.add(t, open)
	return "", fmt.Errorf("the reply to the import was lost (%w), and what it made is not known: %w", cause, err)
}

// settle deletes what imports made that were never confirmed. It comes after links and
// objects are gone, which others could use, and which an import needs to go on.
func (c *Copy) settle(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(c.lost.list))
	for i, l := range c.lost.list {
		wg.Go(func() {
			if err := c.settleOne(ctx, l); err != nil {
				errs[i] = fmt.Errorf("destination %s: %w", l.Name(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Copy) settleOne(ctx context.Context, l lostImport) error {
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	c.Say("%s: the import was not confirmed: looking for the image that it made, up to %s after it was sent", l.Name(), wait.Unseen)
	id := ""
	never, err := l.open.Settle(g, c.finder(l.Target, &id))
	switch {
	case id != "":
		c.Say("%s: deleting the image %s", l.Name(), id)
		return c.discard(ctx, l.Target, id)
	case len(never) > 0:
		c.Say("%s: nothing that it made has shown up; %s", l.Name(), c.markHint(l.Target))
		return nil
	}
	return fmt.Errorf("the import was not confirmed, and what it made is not known; %s: %w", c.markHint(l.Target), err)
}
