// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
)

// limitedObject takes no more than size_limit_in_gbs: what was said of the size of an
// image beforehand may be wrong, and storing it is paid for.
type limitedObject struct {
	imagestream.Object
	gigabytes int64

	mu   sync.Mutex
	left int64 // bytes
}

// Part implements imagestream.Object.
func (o *limitedObject) Part(ctx context.Context, number int, data []byte) error {
	o.mu.Lock()
	o.left -= int64(len(data))
	over := o.left < 0
	o.mu.Unlock()
	if over {
		return fmt.Errorf("size_limit_in_gbs: the image takes more than %d GB of Object Storage, which is the limit; raise the limit, or set it to -1 for none", o.gigabytes)
	}
	return o.Object.Part(ctx, number, data)
}
