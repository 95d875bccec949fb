// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Watch looks at what goes over the connection to a machine. It knows whether
// something other than a check of ours went over it after that check, which
// then is no proof of what the machine is now. What a provisioner does by
// another way it does not see.
type Watch struct {
	mu   sync.Mutex
	n    int            // how much went over it
	last map[string]int // by mark, which of it was the last one; "": without one
}

// Wrap puts the watch around a connection.
func (w *Watch) Wrap(c packersdk.Communicator) packersdk.Communicator { return watched{c, w} }

// Fresh returns what says of a check whether nothing but checks went over the
// connection since that one. Each is known by its mark, and these are all that
// count: what only looks like a mark is anybody's.
func (w *Watch) Fresh(checks ...string) func(mark string) bool {
	return func(mark string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		then := w.last[mark]
		for other, n := range w.last {
			if n > then && !slices.Contains(checks, other) {
				return false
			}
		}
		return then > 0
	}
}

// saw notes a command, or the name of a file that is written.
func (w *Watch) saw(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[string]int{}
	}
	w.n++
	w.last[proof.Mark(text)] = w.n
}

type watched struct {
	packersdk.Communicator
	w *Watch
}

func (c watched) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	c.w.saw(cmd.Command)
	return c.Communicator.Start(ctx, cmd)
}

func (c watched) Upload(name string, r io.Reader, info *os.FileInfo) error {
	c.w.saw(name)
	return c.Communicator.Upload(name, r, info)
}

func (c watched) UploadDir(dst, src string, exclude []string) error {
	c.w.saw(dst)
	return c.Communicator.UploadDir(dst, src, exclude)
}
