// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"time"
)

// Target is what a session of a bastion leads to, and for whom.
type Target struct {
	Address string // private
	Port    int
	Key     string // the public key that opens the session, as authorized_keys has it
}

// Session is an open way to a target, for some time.
type Session struct {
	ID      string
	Host    string // the jump host, with its port
	User    string
	HostKey string    // the jump host's, as known_hosts has it; empty where the cloud does not tell
	Made    time.Time // not earlier than this
	Ends    time.Time // not earlier than this
}

// Bastions is a cloud that lets somebody in to a machine without a public
// address: by sessions of a bastion, which stands in the machine's network.
type Bastions interface {
	// StartBastion names the bastion for a machine or asks for one, tagged with
	// token; own says that it was made for this build. A request that is under
	// way is not cut short when ctx ends.
	StartBastion(ctx context.Context, machine, token string) (id string, own bool, err error)
	// FindBastions returns the ids of the bastions asked for with token.
	FindBastions(ctx context.Context, token string) ([]string, error)
	// AwaitBastion returns when the bastion can have sessions.
	AwaitBastion(ctx context.Context, id string) error
	// DeleteBastion returns when it is gone. One that is gone already is no error.
	DeleteBastion(ctx context.Context, id string) error

	// StartSession asks for a session, like StartBastion.
	StartSession(ctx context.Context, bastion string, to Target, token string) (id string, err error)
	// FindSessions returns the ids of the sessions asked for with token.
	FindSessions(ctx context.Context, bastion, token string) ([]string, error)
	// AwaitSession returns when the session is open.
	AwaitSession(ctx context.Context, id string) (Session, error)
	// EndSession asks once for the end of a session and does not wait for it.
	EndSession(ctx context.Context, id string) error
	// DeleteSession returns when it is gone. One that is gone already is no
	// error.
	DeleteSession(ctx context.Context, id string) error

	// Lost says whether err leaves open if the request took effect.
	Lost(err error) bool
}
