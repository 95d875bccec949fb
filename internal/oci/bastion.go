// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// BastionConfig is how a machine without a public address is reached.
type BastionConfig struct {
	ID         string   // an existing bastion; empty: one is made in the machine's subnet
	Clients    []string // IPv4 blocks from which the one that is made lets in
	SessionTTL time.Duration
	Timeout    time.Duration // until a bastion or a session is ACTIVE

	// Of the one that is made.
	Tags        map[string]string
	DefinedTags DefinedTags
}

// bastionTimeout is the option that raises BastionConfig.Timeout.
const bastionTimeout = "oci_bastion: timeout"

func (b *Build) bastionPatience() patience {
	return patience{limit: b.cfg.Bastion.Timeout, option: bastionTimeout, say: b.say}
}

// StartBastion implements cloud.Bastions.
func (b *Build) StartBastion(ctx context.Context, _, token string) (id string, own bool, err error) {
	cfg := b.cfg.Bastion
	if cfg.ID != "" {
		return cfg.ID, false, nil
	}
	kind, ttl := "STANDARD", int(cfg.SessionTTL.Seconds())
	// Nothing goes through it for longer than a session lasts.
	tag := b.current().Lasting(cfg.SessionTTL).Tag(owner.RoleBastion)
	tag.Attempt = token
	d := bastion.CreateBastionDetails{
		BastionType: &kind, CompartmentId: &b.cfg.Compartment, TargetSubnetId: &b.cfg.Subnet,
		Name:                     &token, // names are said to be unique in the tenancy
		ClientCidrBlockAllowList: cfg.Clients, MaxSessionTtlInSeconds: &ttl, FreeformTags: tag.With(cfg.Tags), DefinedTags: cfg.DefinedTags,
	}
	err = repeatWithToken(ctx, b.bastionPatience(), "create bastion", "in "+b.cfg.Subnet, token, func(ctx context.Context, token string) error {
		r, err := b.bastion.CreateBastion(shield(ctx), bastion.CreateBastionRequest{CreateBastionDetails: d, OpcRetryToken: &token, RequestMetadata: once()})
		if err == nil && r.Id == nil {
			err = errNoAnswer
		}
		id = text(r.Id)
		return err
	})
	switch {
	case missing(err):
		err = fmt.Errorf("this user may not make a bastion in subnet %s in %s; allow it to manage bastion-family and to use virtual-network-family in the compartment %s, or name a bastion that exists by oci_bastion: bastion_ocid: %w", b.cfg.Subnet, b.Region, b.cfg.Compartment, err)
	case code(err, "LimitExceeded", "QuotaExceeded"):
		err = fmt.Errorf("tenancy %s may have no more bastions in %s; delete those that are no longer needed, ask for a higher limit (bastion-count), or name one that exists by oci_bastion: bastion_ocid: %w", b.Tenancy, b.Region, err)
	}
	return id, true, err
}

// FindBastions implements cloud.Bastions.
func (b *Build) FindBastions(ctx context.Context, token string) ([]string, error) {
	var ids []string
	err := cloud.Pages(func(page *string) (*string, error) {
		var r bastion.ListBastionsResponse
		err := repeat(ctx, "list bastions", "", func(ctx context.Context) (err error) {
			r, err = b.bastion.ListBastions(shield(ctx), bastion.ListBastionsRequest{CompartmentId: &b.cfg.Compartment, Name: &token, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if madeBy(i.FreeformTags, token) && i.LifecycleState != bastion.BastionLifecycleStateDeleted {
				ids = append(ids, text(i.Id))
			}
		}
		return r.OpcNextPage, err
	})
	return ids, err
}

// AwaitBastion implements cloud.Bastions.
func (b *Build) AwaitBastion(ctx context.Context, id string) error {
	return b.awaitActive(ctx, "bastion", id, func(ctx context.Context) (state, details string, err error) {
		r, err := b.bastion.GetBastion(shield(ctx), bastion.GetBastionRequest{BastionId: &id, RequestMetadata: once()})
		if most := r.MaxSessionTtlInSeconds; err == nil && most != nil {
			b.mu.Lock()
			b.maxTTL = time.Duration(*most) * time.Second
			b.mu.Unlock()
		}
		return string(r.LifecycleState), text(r.LifecycleDetails), err
	})
}

// awaitActive waits until a bastion or a session of one is ACTIVE.
func (b *Build) awaitActive(ctx context.Context, kind, id string, get func(context.Context) (state, details string, err error)) error {
	return wait.Loop{
		What: kind + " " + id + " to become ACTIVE", Timeout: b.cfg.Bastion.Timeout, Option: bastionTimeout, Pace: wait.Quick, Tolerate: passing,
		Progress: func(d time.Duration) { b.say("Still waiting for %s %s to become ACTIVE (%s)", kind, id, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		state, details, err := get(ctx)
		if err != nil {
			return false, wrap("get "+kind, id, err)
		}
		switch state {
		case "ACTIVE":
			return true, nil
		case "CREATING", "UPDATING":
			return false, nil
		}
		return false, &Error{Op: "open " + kind, Subject: id, Message: fmt.Sprintf("it became %s instead of ACTIVE. %s", state, details)}
	})
}

// DeleteBastion implements cloud.Bastions.
func (b *Build) DeleteBastion(ctx context.Context, id string) error { return b.deleteBastion(ctx, id) }

func (c *Client) deleteBastion(ctx context.Context, id string) error {
	return removeGate(ctx, "bastion", id, func(ctx context.Context) (string, error) {
		r, err := c.bastion.GetBastion(shield(ctx), bastion.GetBastionRequest{BastionId: &id, RequestMetadata: once()})
		return string(r.LifecycleState), err
	}, func(ctx context.Context) error {
		_, err := c.bastion.DeleteBastion(shield(ctx), bastion.DeleteBastionRequest{BastionId: &id, RequestMetadata: once()})
		return err
	})
}

// removeGate deletes a bastion or a session and waits until it is gone. One that
// is still CREATING cannot be deleted before it is made.
func removeGate(ctx context.Context, kind, id string, get func(context.Context) (state string, err error), remove func(context.Context) error) error {
	asked := false
	return wait.Loop{What: kind + " " + id + " to be deleted", Pace: wait.Quick, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		state, err := get(ctx)
		if err = wrap("get "+kind, id, err); missing(err) {
			return true, nil
		}
		switch {
		case err != nil:
			return false, err
		case state == "DELETED":
			return true, nil
		case asked, state != "ACTIVE" && state != "FAILED":
			return false, nil
		}
		if err = wrap("delete "+kind, id, remove(ctx)); missing(err) {
			// It was there a moment ago. If it still is, we may not delete it.
			if state, gerr := get(ctx); gerr == nil && state == "ACTIVE" {
				return false, fmt.Errorf("this user may not delete it; allow it to manage bastion-family: %w", err)
			}
			err = nil
		}
		asked = err == nil
		return false, err
	})
}

// StartSession implements cloud.Bastions.
func (b *Build) StartSession(ctx context.Context, in string, to cloud.Target, token string) (id string, err error) {
	b.mu.Lock()
	ttl := b.cfg.Bastion.SessionTTL
	if b.maxTTL > 0 {
		ttl = min(ttl, b.maxTTL)
	}
	b.mu.Unlock()
	seconds := int(ttl.Seconds())
	d := bastion.CreateSessionDetails{
		BastionId: &in, DisplayName: &token, SessionTtlInSeconds: &seconds,
		KeyType: bastion.CreateSessionDetailsKeyTypePub, KeyDetails: &bastion.PublicKeyDetails{PublicKeyContent: &to.Key},
		TargetResourceDetails: bastion.CreatePortForwardingSessionTargetResourceDetails{TargetResourcePrivateIpAddress: &to.Address, TargetResourcePort: &to.Port},
	}
	err = repeatWithToken(ctx, b.bastionPatience(), "create session", "of "+in, token, func(ctx context.Context, token string) error {
		r, err := b.bastion.CreateSession(shield(ctx), bastion.CreateSessionRequest{CreateSessionDetails: d, OpcRetryToken: &token, RequestMetadata: once()})
		if err == nil && r.Id == nil {
			err = errNoAnswer
		}
		id = text(r.Id)
		return err
	})
	switch {
	case missing(err):
		err = fmt.Errorf("this user may not open a session of bastion %s in %s, or the bastion is gone; allow it to manage bastion-family: %w", in, b.Region, err)
	case code(err, "LimitExceeded", "QuotaExceeded"):
		err = fmt.Errorf("bastion %s in %s may have no more sessions; delete those that are no longer needed, or use another bastion: %w", in, b.Region, err)
	}
	return id, err
}

// FindSessions implements cloud.Bastions. Sessions have no tags: a session's name
// is its token.
func (b *Build) FindSessions(ctx context.Context, in, token string) ([]string, error) {
	var ids []string
	err := cloud.Pages(func(page *string) (*string, error) {
		var r bastion.ListSessionsResponse
		err := repeat(ctx, "list sessions of", in, func(ctx context.Context) (err error) {
			r, err = b.bastion.ListSessions(shield(ctx), bastion.ListSessionsRequest{BastionId: &in, DisplayName: &token, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if text(i.DisplayName) == token && i.LifecycleState != bastion.SessionLifecycleStateDeleted {
				ids = append(ids, text(i.Id))
			}
		}
		return r.OpcNextPage, err
	})
	if missing(err) {
		return nil, nil // with the bastion went its sessions
	}
	return ids, err
}

// AwaitSession implements cloud.Bastions.
func (b *Build) AwaitSession(ctx context.Context, id string) (cloud.Session, error) {
	s := cloud.Session{ID: id, Made: time.Now()}
	var got bastion.Session
	err := b.awaitActive(ctx, "session", id, func(ctx context.Context) (state, details string, err error) {
		r, err := b.bastion.GetSession(shield(ctx), bastion.GetSessionRequest{SessionId: &id, RequestMetadata: once()})
		got = r.Session
		return string(r.LifecycleState), text(r.LifecycleDetails), err
	})
	if err != nil {
		return s, err
	}
	s.Ends = s.Made.Add(b.cfg.Bastion.SessionTTL)
	if ttl := got.SessionTtlInSeconds; ttl != nil {
		s.Ends = s.Made.Add(time.Duration(*ttl) * time.Second)
	}
	s.User, s.HostKey = cmp.Or(text(got.BastionUserName), id), text(got.BastionPublicHostKeyInfo)
	s.Host = b.jumpHost(got.SshMetadata["command"])
	return s, nil
}

// jumpCommand finds host and port in how OCI says that one connects: "ssh -i
// <privateKey> -N -L <localPort>:10.0.0.2:22 -p 22 <session>@<host>".
var jumpCommand = regexp.MustCompile(`(?:-p (\d+) +)?\S+@([A-Za-z0-9.-]+)\s*$`)

// jumpHost is the address of the jump host, as the service says it, or else as
// the documentation does.
func (b *Build) jumpHost(command string) string {
	if m := jumpCommand.FindStringSubmatch(command); m != nil {
		return net.JoinHostPort(m[2], cmp.Or(m[1], "22"))
	}
	return net.JoinHostPort(common.StringToRegion(b.Region).EndpointForTemplate("bastion", "host.bastion.{region}.oci.{secondLevelDomain}"), "22")
}

// EndSession implements cloud.Bastions.
func (b *Build) EndSession(ctx context.Context, id string) error {
	_, err := b.bastion.DeleteSession(shield(ctx), bastion.DeleteSessionRequest{SessionId: &id, RequestMetadata: once()})
	return wrap("delete session", id, err)
}

// DeleteSession implements cloud.Bastions.
func (b *Build) DeleteSession(ctx context.Context, id string) error {
	return removeGate(ctx, "session", id, func(ctx context.Context) (string, error) {
		r, err := b.bastion.GetSession(shield(ctx), bastion.GetSessionRequest{SessionId: &id, RequestMetadata: once()})
		return string(r.LifecycleState), err
	}, func(ctx context.Context) error { return b.EndSession(ctx, id) })
}

// checkBastion sees before the search whether there will be a way in: the
// bastion that is named, or room for another one.
func (s *survey) checkBastion(ctx context.Context) {
	b := s.b
	if b.cfg.Bastion == nil {
		return
	}
	id := b.cfg.Bastion.ID
	if id == "" {
		r, err := b.availability(ctx, "bastion", "bastion-count", "")
		if err == nil && r.Available != nil && *r.Available <= 0 {
			s.problem(fmt.Errorf("oci_bastion: the limit \"bastion-count\" of tenancy %s in %s leaves no room for another bastion; delete those that are no longer needed, or name one that exists by bastion_ocid", b.Tenancy, b.Region))
		}
		return
	}
	var r bastion.GetBastionResponse
	err := repeat(ctx, "get bastion", id, func(ctx context.Context) (err error) {
		r, err = b.bastion.GetBastion(shield(ctx), bastion.GetBastionRequest{BastionId: &id, RequestMetadata: once()})
		return err
	})
	vcn := text(r.TargetVcnId)
	switch {
	case missing(err):
		s.problem(fmt.Errorf("oci_bastion: there is no bastion %s in %s that this user may see; a bastion belongs to one region, and the user must be allowed to manage bastion-family: %w", id, b.Region, err))
	case err != nil:
		s.problem(fmt.Errorf("oci_bastion: %w", err))
	case r.LifecycleState != bastion.BastionLifecycleStateActive && r.LifecycleState != bastion.BastionLifecycleStateUpdating:
		s.problem(fmt.Errorf("oci_bastion: bastion %s is %s, it must be ACTIVE", id, r.LifecycleState))
	case s.vcn != "" && vcn != "" && s.vcn != vcn:
		s.note("Bastion %s is in another VCN than the machine will be: it reaches the machine only if the two are connected", id)
	}
}
