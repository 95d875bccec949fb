// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"sync"
)

// Idle starts machines that do nothing but exist. It opens nothing and waits for
// nothing, so it works inside a bubble of testing/synctest.
type Idle struct{}

// Start implements Driver.
func (Idle) Start(context.Context, Spec) (Machine, error) {
	return &idleMachine{done: make(chan struct{})}, nil
}

type idleMachine struct {
	once sync.Once
	done chan struct{}
}

func (m *idleMachine) Shutdown(context.Context) error { return m.Kill() }
func (m *idleMachine) Kill() error                    { m.once.Do(func() { close(m.done) }); return nil }
func (m *idleMachine) Done() <-chan struct{}          { return m.done }
func (m *idleMachine) Console() []byte                { return nil }
