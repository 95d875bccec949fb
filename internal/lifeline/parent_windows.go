// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"os"
	"sync/atomic"
)

// parent waits for the end of the process that started this one. Unverified on
// Windows: it is compiled and not run.
func parent() func() bool {
	var gone atomic.Bool
	p, err := os.FindProcess(os.Getppid())
	if err != nil {
		return func() bool { return true }
	}
	go func() {
		_, err := p.Wait()
		gone.Store(err == nil)
	}()
	return func() bool { return !gone.Load() }
}
