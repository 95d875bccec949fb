// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sample

import (
	"fmt"
	"testing"
)

// A sample has cases of each table, and is about as small as it says.
func TestSample(t *testing.T) {
	for _, table := range []string{"TestOneFaultAnywhere/copy", "TestKilledAnywhere/export", "TestX/"} {
		n := 0
		for i := range 160 {
			name := fmt.Sprintf("%s %d LaunchInstance", table, i)
			if in(name) {
				n++
			}
		}
		if n < 10 || n > 35 {
			t.Errorf("%s: %d of 160", table, n)
		}
	}
}

func TestWithoutShort(t *testing.T) {
	if testing.Short() {
		return
	}
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			Case(t)
			Not(t)
		})
	}
}
