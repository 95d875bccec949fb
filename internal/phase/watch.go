// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"io"
	"os"
	"sync"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Watch looks at what goes over the connection to a machine. It knows whether
// something other than a check of ours went over it after that check, which
// then is no proof of what the machine is now. What a provisioner does by
// another way it does not see.
type Watch struct {
	mu    sync.Mutex
	since map[string]bool // by mark of a check: only checks since then
}

// Wrap puts the watch around a connection.
func (w *Watch) Wrap(c packersdk.Communicator) packersdk.Communicator { return watched{c, w} }

// Fresh says whether nothing but checks went over the connection since the one
// with that mark.
func (w *Watch) Fresh(mark string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since[mark]
}

// saw notes a command, or the name of a file that is written.
func (w *Watch) saw(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := proof.Mark(text)
	if mark == "" || w.since == nil {
		w.since = map[string]bool{}
	}
	if mark != "" {
		w.since[mark] = true
	}
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
