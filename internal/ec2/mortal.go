// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Gone implements cloud.Mortal.
func (b *Build) Gone(ctx context.Context, machine string) error {
	// Without an answer the state is empty, and nobody knows.
	if i, _ := b.look(ctx, machine); ended(state(i)) {
		return b.lostMachine(i)
	}
	return nil
}

// watchEvery is how often it is looked whether a spot machine is still there. What
// it was used for fails at about the same time; that it may hang is why to look.
const watchEvery = 5 * time.Second

// AwaitEnd implements cloud.Mortal. Only spot machines are taken back.
func (b *Build) AwaitEnd(ctx context.Context, machine string) error {
	b.mu.Lock()
	market := b.markets[machine]
	b.mu.Unlock()
	if market != Spot {
		return nil
	}
	var gone error
	_ = wait.Loop{What: "the end of " + machine, Pace: wait.Pace{First: watchEvery, Max: watchEvery, Factor: 1}}.Until(ctx, func(ctx context.Context) (bool, error) {
		gone = b.Gone(ctx, machine)
		return gone != nil, nil
	})
	return gone
}

// lostMachine says what became of a machine that was to be imaged.
func (b *Build) lostMachine(i types.Instance) error {
	id, cause := aws.ToString(i.InstanceId), whyDead(i)
	switch {
	case code(cause, "Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"):
		return &Error{Op: "build on", Subject: "the spot machine " + id, Code: aws.ToString(i.StateReason.Code),
			Message: "EC2 took it back before it was an image; try again, or ask for a machine on demand", Cause: cause}
	case code(cause, "Client.InstanceInitiatedShutdown") && b.cfg.Shutdown == "terminate":
		return &Error{Op: "build on", Subject: id, Code: aws.ToString(i.StateReason.Code),
			Message: "it shut down by itself before it was an image, and shutdown_behavior = \"terminate\" ends a machine that does; set disable_stop_instance if a provisioner shuts it down", Cause: cause}
	}
	return fmt.Errorf("the machine is gone before it was an image: %w", cause)
}
