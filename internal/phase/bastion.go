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
	"github.com/armfree/packer-plugin-armfree/internal/wait"
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
	id       string    // the bastion to use
	ready    bool      // it can have sessions
	own      []string  // bastions made for this build
	open     wait.Open // requests for bastions whose replies were lost, by token
	lost     wait.Open // likewise for sessions
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
	return append(append(list, p.lostBastions().made()...), p.lostSessions().made()...)
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
		id, err = p.lostSessions().lookUp(ctx, s.token, err, p.findSessions)
	}
	p.sessions[at].id = id
	if id == "" && !slices.Contains(p.lost.Keys(), s.token) {
		p.sessions = p.sessions[:at] // there is none
	}
	if err != nil {
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
		id, own, err := p.Cloud.StartBastion(ctx, machine, token)
		if err != nil && p.Cloud.Lost(err) {
			id, err = p.lostBastions().lookUp(ctx, token, err, p.Cloud.FindBastions)
		}
		if own && id != "" {
			p.own = append(p.own, id)
			p.UI.Sayf("Bastion %s is being made", id)
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
	end := func(s session) {
		if err := p.Cloud.DeleteSession(ctx, s.id); err != nil {
			errs = append(errs, fmt.Errorf("session %s of bastion %s could not be deleted, it ends by itself when its time is over: %w", s.id, s.bastion, err))
		}
	}
	for _, s := range p.sessions {
		if s.id != "" {
			end(s)
		}
	}
	if err := p.lostBastions().settle(ctx, func(ctx context.Context, token string) ([]string, error) {
		ids, err := p.Cloud.FindBastions(ctx, token)
		p.own = append(p.own, ids...)
		return ids, err
	}); err != nil {
		errs = append(errs, err)
	}
	if err := p.lostSessions().settle(ctx, func(ctx context.Context, token string) ([]string, error) {
		ids, err := p.findSessions(ctx, token)
		for _, id := range ids {
			end(session{bastion: p.of(token), id: id})
		}
		return ids, err
	}); err != nil {
		errs = append(errs, err)
	}
	for _, id := range p.own {
		p.UI.Sayf("Deleting bastion %s", id)
		if err := p.Cloud.DeleteBastion(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("bastion %s could not be deleted, please do so by hand: %w", id, err))
		}
	}
	p.sessions, p.own, p.id, p.ready = nil, nil, "", false
	return errors.Join(errs...)
}

func (p *Bastion) lostBastions() lostReplies {
	return lostReplies{UI: p.UI, Open: &p.open, what: "bastion", by: "bastion named "}
}

func (p *Bastion) lostSessions() lostReplies {
	return lostReplies{UI: p.UI, Open: &p.lost, what: "session of a bastion", by: "session, which ends by itself, named "}
}

// findSessions finds the sessions asked for with token, in the bastion that they
// were asked for in.
func (p *Bastion) findSessions(ctx context.Context, token string) ([]string, error) {
	return p.Cloud.FindSessions(ctx, p.of(token), token)
}

// of is the bastion of the session that was asked for with token.
func (p *Bastion) of(token string) string {
	for _, s := range p.sessions {
		if s.token == token {
			return s.bastion
		}
	}
	return p.id
}
