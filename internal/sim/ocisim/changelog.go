// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"slices"
	"time"
)

// Change is one line of the log of what became of instances and images: a
// lifecycle state that one of them took at a moment. Beside the log of requests
// it tells how long the cloud took and how long its clients.
type Change struct {
	Time  time.Time `json:"time"`
	ID    string    `json:"id"`
	State string    `json:"lifecycleState"`
}

// Changes returns the log, oldest first.
func (c *Cloud) Changes() []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes)
}

// instanceBecomes moves an instance to a state. The cloud's lock is held.
func (c *Cloud) instanceBecomes(i *instance, state string) {
	i.body.LifecycleState = state
	c.changes = append(c.changes, Change{time.Now(), i.body.ID, state})
}

// imageBecomes moves an image to a state. The cloud's lock is held.
func (c *Cloud) imageBecomes(img *image, state string) {
	img.body.LifecycleState = state
	c.changes = append(c.changes, Change{time.Now(), img.body.ID, state})
}
