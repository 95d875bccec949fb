// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Bastion keeps the bastion and the sessions by which a machine without a public
// address is reached. It makes nothing itself; Tunnel does, when there is a
// machine. It stands before the phase that finds the machine, so that it is
// undone after it: a machine costs money and goes first, whereas a bastion that
// is still being made has to be waited for before it can be deleted.
type Bastion struct {
	UI    packersdk.Ui
	Cloud cloud.Bastions
	Token func(parts ...string) string

	mu       sync.Mutex
	id       string   // the bastion to use
	ready    bool     // it can have sessions
	own      []string // bastions made for this build
	open     []string // tokens of requests for bastions whose outcome is open
	sessions []session
	asked    int // requests for something, so far
}

// session is a session that exists or, as long as it has no id, may exist.
type session struct {
	bastion, id, token string
	left               bool // its end was asked for
}

// Name implements Phase.
func (p *Bastion) Name() string { return "have a bastion" }

// Made implements Maker.
func (p *Bastion) Made() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.own {
		list = append(list, "bastion "+id)
	}
	for _, s := range p.sessions {
		if s.id != "" {
			list = append(list, "session "+s.id)
		}
	}
	return list
}

// Run implements Phase.
func (p *Bastion) Run(context.Context) error { return nil }

// token is that of the next request.
func (p *Bastion) token(kind, machine string) string {
	p.asked++
	return p.Token(kind, machine, strconv.Itoa(p.asked))
}

// session opens a session to a machine, and makes the bastion first if there is
// none. All ids are known before they are waited for.
func (p *Bastion) session(ctx context.Context, machine string, to cloud.Target) (cloud.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.bastion(ctx, machine); err != nil {
		return cloud.Session{}, err
	}
	s := session{bastion: p.id, token: p.token("session", machine)}
	p.sessions = append(p.sessions, s)
	at := len(p.sessions) - 1
	id, err := p.Cloud.StartSession(ctx, p.id, to, s.token)
	if err != nil && p.Cloud.Lost(err) {
		id, err = lookUp(ctx, p.UI, "a session", "it", err, func(ctx context.Context) ([]string, error) { return p.Cloud.FindSessions(ctx, p.id, s.token) })
	}
	p.sessions[at].id = id
	switch {
	case err != nil && id == "" && !p.Cloud.Lost(err):
		p.sessions = p.sessions[:at] // there is none
		return cloud.Session{}, err
	case err != nil:
		return cloud.Session{}, err
	}
	return p.Cloud.AwaitSession(ctx, id)
}

// bastion makes sure that there is one which can have sessions.
func (p *Bastion) bastion(ctx context.Context, machine string) error {
	if p.ready {
		return nil
	}
	if p.id == "" {
		token := p.token("bastion", machine)
		p.open = append(p.open, token)
		id, own, err := p.Cloud.StartBastion(ctx, machine, token)
		if err != nil && p.Cloud.Lost(err) {
			id, err = lookUp(ctx, p.UI, "a bastion", "it", err, func(ctx context.Context) ([]string, error) { return p.Cloud.FindBastions(ctx, token) })
		}
		if own && id != "" {
			p.own = append(p.own, id)
			p.UI.Sayf("Bastion %s is being made", id)
		}
		if id != "" || err != nil && !p.Cloud.Lost(err) {
			p.open = nil
		}
		if err != nil {
			return err
		}
		p.id = id
	}
	if err := p.Cloud.AwaitBastion(ctx, p.id); err != nil {
		if slices.Contains(p.own, p.id) {
			p.id = "" // another attempt makes another one
		}
		return err
	}
	p.ready = true
	return nil
}

// leave asks for the end of sessions that are not needed any more. That they end
// is seen to in Undo.
func (p *Bastion) leave(ctx context.Context, which func(id string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.sessions {
		if s := &p.sessions[i]; s.id != "" && !s.left && which(s.id) {
			s.left = p.Cloud.EndSession(ctx, s.id) == nil
		}
	}
}

// Undo implements Phase: sessions and bastions end with the build.
func (p *Bastion) Undo(ctx context.Context, _ error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.sessions {
		ids := []string{s.id}
		if s.id == "" {
			var err error
			if ids, err = p.Cloud.FindSessions(ctx, s.bastion, s.token); err != nil {
				errs = append(errs, fmt.Errorf("a session of bastion %s was not confirmed and cannot be looked up; it ends by itself, or look for the session %s: %w", s.bastion, s.token, err))
			}
		}
		for _, id := range ids {
			if err := p.Cloud.DeleteSession(ctx, id); err != nil {
				errs = append(errs, fmt.Errorf("session %s of bastion %s could not be deleted, it ends by itself when its time is over: %w", id, s.bastion, err))
			}
		}
	}
	for _, token := range p.open {
		ids, err := p.Cloud.FindBastions(ctx, token)
		if err != nil {
			errs = append(errs, fmt.Errorf("a bastion was not confirmed and cannot be looked up; look for a bastion named %s: %w", token, err))
		}
		p.own = append(p.own, ids...)
	}
	for _, id := range p.own {
		p.UI.Sayf("Deleting bastion %s", id)
		if err := p.Cloud.DeleteBastion(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("bastion %s could not be deleted, please do so by hand: %w", id, err))
		}
	}
	p.sessions, p.own, p.open, p.id, p.ready = nil, nil, nil, "", false
	return errors.Join(errs...)
}
