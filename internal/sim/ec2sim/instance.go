// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"net/netip"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// The states of an instance.
const (
	pending      = "pending"
	running      = "running"
	stopping     = "stopping"
	stopped      = "stopped"
	shuttingDown = "shutting-down"
	terminated   = "terminated"
)

// The markets that an instance is bought on.
const (
	onDemand = "on-demand"
	spot     = "spot"
)

// instance is a virtual machine. What happens to it takes time and happens in
// the background, one operation after the other.
type instance struct {
	resourceBase
	launch      *launchPlan
	reservation string
	token       string
	index       int
	spec        instanceType
	image       *image
	eni         *networkInterface
	volumes     []*attachment
	market      string
	spotRequest *spotRequest
	metadata    metadataOptions
	credits     string // standard or unlimited, of types that have credits
	userData    []byte
	onShutdown  string // stop or terminate
	protected   bool   // DisableApiTermination
	publicAgain bool   // it gets a public address when it is started again

	state      string
	reason     *reasonXML // of the last change of state
	transition string     // the same as a text
	launched   time.Time
	ended      time.Time // when it was terminated
	notice     time.Time // when a spot instance will be taken away

	machine machine.Machine // nil while the power is off
	console []byte          // what it printed until the power went off
	current *task           // the latest one, ended or not; nil before the first
	gate    gate
}

// networkInterface is the network card of an instance.
type networkInterface struct {
	resourceBase
	subnet   *subnet
	private  netip.Addr
	public   netip.Addr // not valid if it has none
	mac      string
	groups   []*securityGroup
	instance *instance
	deletes  bool
	state    string // in-use or available
	text     string // description
	at       time.Time
}

type metadataOptions struct {
	endpoint, tokens, tags, ipv6 string
	hops                         int
}

func (i *instance) az() zone { return i.eni.subnet.az }

// is tells whether the instance is in one of the given states.
func (i *instance) is(states ...string) bool {
	for _, s := range states {
		if i.state == s {
			return true
		}
	}
	return false
}

// isNow is is for those who do not hold the cloud's lock.
func (i *instance) isNow(c *Cloud, states ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return i.is(states...)
}

// attachment is the volume at a device.
func (i *instance) attachment(device string) *attachment {
	for _, a := range i.volumes {
		if a.device == device {
			return a
		}
	}
	return nil
}

// asResource is an instance with the condition keys of instances.
func (i *instance) asResource() AccessResource {
	x := existing(i)
	i.launch.describe(x)
	return x.with("ec2:AvailabilityZone", i.az().name)
}

func stateCode(state string) int {
	return map[string]int{pending: 0, running: 16, shuttingDown: 32, terminated: 48, stopping: 64, stopped: 80}[state]
}

// task is something that happens to an instance in the background.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	// finishes is set for work that the end of the instance does not stop: a
	// snapshot that is being made of its disk.
	finishes bool
}

// operate starts the next operation of an instance. It begins when the one
// before has ended. The cloud's lock is held.
func (c *Cloud) operate(i *instance, finishes bool, work func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(c.base)
	before := i.current
	now := &task{cancel: cancel, done: make(chan struct{}), finishes: finishes}
	i.current = now
	c.background(func(context.Context) {
		defer close(now.done)
		defer cancel()
		if before != nil {
			<-before.done
		}
		work(ctx)
	})
}
