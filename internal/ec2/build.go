// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Build is one build in one region; it implements fleet.Site, with cloud.Cloud,
// and cloud.Sundries.
type Build struct {
	*Client
	cfg   BuildConfig
	owner owner.Build
	until time.Time // when what is made from now on expires, if that is later
	say   func(format string, args ...any)

	found surveyed // by Plan, which comes before everything else

	mu       sync.Mutex
	asked    map[string]*ec2.RunInstancesInput // by token: a repetition must be the same
	crowded  map[string]bool                   // subnets that had no free address
	born     map[string]time.Time              // machines, by id
	markets  map[string]Market                 // likewise
	orphans  map[string][]string               // by machine: volumes that would outlive it
	sundries sundries
	images   *imaging
}

// surveyed is what a launch needs to know of the cloud.
type surveyed struct {
	image   types.Image // that the machine starts from
	words   Words
	sizes   map[string]types.InstanceTypeInfo // by instance type
	subnets []types.Subnet                    // in the order of preference
	groups  []string                          // the user's security groups
	limits  map[Market]limit                  // as far as they are known
	sources []string                          // from where a temporary group lets in
	caller  string                            // of these, this computer's address; empty if it is not
	at      time.Time                         // when all of this was found
}

// NewBuild prepares a build. say is told what takes long.
func NewBuild(c *Client, cfg BuildConfig, o owner.Build, say func(format string, args ...any)) *Build {
	var one sync.Mutex // regions are worked on at the same time
	return &Build{
		Client: c, cfg: cfg, owner: o,
		say: func(format string, args ...any) {
			one.Lock()
			defer one.Unlock()
			say(format, args...)
		},
		asked: map[string]*ec2.RunInstancesInput{}, crowded: map[string]bool{},
		born: map[string]time.Time{}, markets: map[string]Market{}, orphans: map[string][]string{}, sundries: newSundries(), images: newImaging(),
	}
}
