// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// jumpSession is a bastion's session: for some time, whoever has its key may
// reach one address and port through the bastion.
type jumpSession struct {
	place
	revision
	body    jumpSessionBody
	bastion *bastion
	key     ssh.PublicKey
	target  jumpTarget

	conns map[ssh.Conn]struct{} // that are open
	late  []byte                // the connection that came too early; see BastionSessionsLate
}

type jumpSessionBody struct {
	ID             string            `json:"id"`
	BastionID      string            `json:"bastionId"`
	BastionName    string            `json:"bastionName"`
	UserName       string            `json:"bastionUserName"`
	HostKey        *string           `json:"bastionPublicHostKeyInfo"`
	Target         jumpTarget        `json:"targetResourceDetails"`
	KeyDetails     keyDetails        `json:"keyDetails"`
	KeyType        string            `json:"keyType"`
	DisplayName    string            `json:"displayName"`
	SSHMetadata    map[string]string `json:"sshMetadata"`
	TTL            int               `json:"sessionTtlInSeconds"`
	LifecycleState string            `json:"lifecycleState"`
	Details        *string           `json:"lifecycleDetails"`
	TimeCreated    wireTime          `json:"timeCreated"`
	TimeUpdated    *wireTime         `json:"timeUpdated"`
}

type keyDetails struct {
	Content string `json:"publicKeyContent" oci:"required"`
}

// jumpTarget is where a session leads.
type jumpTarget struct {
	SessionType string  `json:"sessionType"`
	ID          *string `json:"targetResourceId"`
	DisplayName *string `json:"targetResourceDisplayName"`
	PrivateIP   *string `json:"targetResourcePrivateIpAddress"`
	FQDN        *string `json:"targetResourceFqdn"`
	Port        *int    `json:"targetResourcePort"`
}

func (s *jumpSession) is(state string) bool { return s.body.LifecycleState == state }

// become is a change of state. The end of a session cuts its connections.
func (s *jumpSession) become(state string) {
	now := wireNow()
	s.body.LifecycleState, s.body.TimeUpdated = state, &now
	s.touch()
	if state != "DELETING" && state != "DELETED" {
		return
	}
	for conn := range s.conns {
		go func() { _ = conn.Close() }() // closing waits for whoever holds the lock
	}
}

// command is how a user connects, in Oracle's words.
func (s *jumpSession) command() string {
	host := fmt.Sprintf("%s@host.bastion.%s.oci.oraclecloud.com", s.body.ID, s.region.name)
	if s.target.SessionType == "DYNAMIC_PORT_FORWARDING" {
		return "ssh -i <privateKey> -N -D 127.0.0.1:<localPort> -p 22 " + host
	}
	to := orElse(s.target.PrivateIP, orElse(s.target.FQDN, ""))
	return fmt.Sprintf("ssh -i <privateKey> -N -L <localPort>:%s:%d -p 22 %s", to, *s.target.Port, host)
}

func (c *Cloud) createJumpSession(q *call) (*reply, error) {
	var d struct {
		BastionID   string          `json:"bastionId" oci:"required"`
		Target      json.RawMessage `json:"targetResourceDetails" oci:"required"`
		KeyDetails  keyDetails      `json:"keyDetails" oci:"required"`
		DisplayName *string         `json:"displayName"`
		KeyType     *string         `json:"keyType"`
		TTL         *int            `json:"sessionTtlInSeconds"`
	}
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	b, err := c.findBastion(q, d.BastionID)
	if err != nil || !b.alive() {
		return nil, errNotFound()
	}
	if b.body.LifecycleState != "ACTIVE" {
		return nil, errState("Bastion %s is %s", b.body.ID, b.body.LifecycleState)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(d.KeyDetails.Content))
	switch {
	case err != nil || len(bytes.TrimSpace(rest)) > 0:
		return nil, errInvalid("keyDetails.publicKeyContent is not one public key in OpenSSH format")
	case d.KeyType != nil && *d.KeyType != "PUB":
		return nil, errInvalid("Unknown keyType %q", *d.KeyType)
	case d.TTL != nil && (*d.TTL < minSessionTTL || *d.TTL > b.body.MaxSessionTTL):
		return nil, errInvalid("sessionTtlInSeconds must be between %d and %d", minSessionTTL, b.body.MaxSessionTTL)
	}
	if err := checkName(d.DisplayName); err != nil {
		return nil, err
	}
	target, err := c.jumpTarget(q, d.Target)
	if err != nil {
		return nil, err
	}
	open := 0
	for _, s := range c.jumps.all() {
		if s.bastion == b && !s.is("DELETED") {
			open++
		}
	}
	if open >= b.body.MaxSessions {
		return nil, fail(http.StatusBadRequest, "LimitExceeded", "Bastion %s has %d sessions already", b.body.ID, open)
	}
	s := &jumpSession{place: q.here(), bastion: b, key: key, target: target, conns: map[ssh.Conn]struct{}{}}
	s.body = jumpSessionBody{ID: newOCID("bastionsession", q.region().ocid), BastionID: b.body.ID, BastionName: b.body.Name,
		Target: target, KeyDetails: d.KeyDetails, KeyType: "PUB", DisplayName: nameOr(d.DisplayName, "session-"),
		SSHMetadata: map[string]string{}, TTL: orElse(d.TTL, minSessionTTL), LifecycleState: "CREATING", TimeCreated: wireNow()}
	s.body.UserName = s.body.ID
	s.touch()
	c.jumps.put(s.body.ID, s)
	work := c.newBastionWork(s.place, "CREATE_SESSION", b.body.CompartmentID, "Session", s.body.ID)
	c.background(func(ctx context.Context) { c.runJumpSession(ctx, s, work) })
	return created(s.body, s.revision, work), nil
}

// runJumpSession is a session's life, which ends with its time.
func (c *Cloud) runJumpSession(ctx context.Context, s *jumpSession, work *workRequest) {
	c.bastionStep(ctx, work, s.place, "CreateSession", "CREATING", "CREATED", c.delays.Session, func() {
		if !s.is("CREATING") { // the bastion was deleted meanwhile
			return
		}
		s.become("ACTIVE")
		s.body.SSHMetadata = map[string]string{"command": s.command()}
		if c.cfg.Switches.BastionSaysHostKey {
			key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c.jump.key.PublicKey())))
			s.body.HostKey = &key
		}
	})
	if schedule.Pause(ctx, time.Duration(s.body.TTL)*time.Second) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.is("ACTIVE") {
		s.become("DELETED")
	}
}

// jumpTarget checks where a session is to lead. An address need not belong to
// anybody yet; an instance that is named must exist.
func (c *Cloud) jumpTarget(q *call, raw json.RawMessage) (jumpTarget, error) {
	var forward struct {
		SessionType string  `json:"sessionType"`
		ID          *string `json:"targetResourceId"`
		PrivateIP   *string `json:"targetResourcePrivateIpAddress"`
		FQDN        *string `json:"targetResourceFqdn"`
		Port        *int    `json:"targetResourcePort"`
	}
	var managed struct {
		SessionType string  `json:"sessionType"`
		User        string  `json:"targetResourceOperatingSystemUserName" oci:"required"`
		ID          string  `json:"targetResourceId" oci:"required"`
		PrivateIP   *string `json:"targetResourcePrivateIpAddress"`
		Port        *int    `json:"targetResourcePort"`
	}
	var dynamic struct {
		SessionType string `json:"sessionType"`
	}
	kind, err := decodeUnion(raw, "sessionType", map[string]any{
		"PORT_FORWARDING": &forward, "MANAGED_SSH": &managed, "DYNAMIC_PORT_FORWARDING": &dynamic})
	switch {
	case err != nil:
		return jumpTarget{}, err
	case kind == "DYNAMIC_PORT_FORWARDING":
		return jumpTarget{SessionType: kind}, nil
	case kind == "MANAGED_SSH":
		if _, err := c.findInstance(q, managed.ID); err != nil {
			return jumpTarget{}, err
		}
		// No image here has Oracle Cloud Agent in it.
		return jumpTarget{}, errInvalid("To create a Managed SSH session, the Bastion plugin must be in the RUNNING state on the target "+
			"instance, but the plugin is not running on %s. Enable the Bastion plugin on the target instance before creating the session.", managed.ID)
	}
	port := orElse(forward.Port, 22)
	t := jumpTarget{SessionType: kind, ID: forward.ID, PrivateIP: forward.PrivateIP, FQDN: forward.FQDN, Port: &port}
	switch {
	case port < 0 || port > 65535:
		return jumpTarget{}, errInvalid("targetResourcePort must be between 0 and 65535")
	case t.ID == nil && t.PrivateIP == nil && t.FQDN == nil:
		return jumpTarget{}, errMissing("targetResourceDetails.targetResourcePrivateIpAddress")
	case t.PrivateIP != nil && t.FQDN != nil: // our wording
		return jumpTarget{}, errInvalid("targetResourcePrivateIpAddress and targetResourceFqdn cannot be given both")
	}
	if t.PrivateIP != nil {
		if ip, err := netip.ParseAddr(*t.PrivateIP); err != nil || !ip.Is4() {
			return jumpTarget{}, errInvalid("targetResourcePrivateIpAddress %q is not an IPv4 address", *t.PrivateIP)
		}
	}
	if t.ID == nil {
		return t, nil
	}
	i, err := c.findInstance(q, *t.ID)
	if err != nil {
		return jumpTarget{}, err
	}
	t.DisplayName = &i.body.DisplayName
	if t.PrivateIP == nil && t.FQDN == nil {
		t.PrivateIP = &i.vnic.body.PrivateIP
	}
	if t.PrivateIP != nil && *t.PrivateIP != i.vnic.body.PrivateIP {
		return jumpTarget{}, errInvalid("Instance %s does not have the private IP address %s", *t.ID, *t.PrivateIP)
	}
	return t, nil
}

// findJumpSession also finds DELETED ones, which stay visible.
func (c *Cloud) findJumpSession(q *call) (*jumpSession, error) {
	s, exists := c.jumps.get(q.vars["id"])
	if !exists || !s.ownedBy(q) {
		return nil, errNotFound()
	}
	return s, nil
}

func (c *Cloud) getJumpSession(q *call) (*reply, error) {
	s, err := c.findJumpSession(q)
	if err != nil {
		return nil, err
	}
	return withEtag(s.body, s.revision), nil
}

// listJumpSessions shows less of each than GetSession: not how to connect.
func (c *Cloud) listJumpSessions(q *call) (*reply, error) {
	if _, err := c.findBastion(q, q.param("bastionId")); err != nil {
		return nil, err
	}
	type summary struct {
		ID             string     `json:"id"`
		BastionID      string     `json:"bastionId"`
		BastionName    string     `json:"bastionName"`
		Target         jumpTarget `json:"targetResourceDetails"`
		DisplayName    string     `json:"displayName"`
		TTL            int        `json:"sessionTtlInSeconds"`
		LifecycleState string     `json:"lifecycleState"`
		Details        *string    `json:"lifecycleDetails"`
		TimeCreated    wireTime   `json:"timeCreated"`
		TimeUpdated    *wireTime  `json:"timeUpdated"`
	}
	found := []summary{}
	for _, one := range c.jumps.all() {
		s := one.body
		if one.ownedBy(q) && q.selects("bastionId", s.BastionID) && q.selects("displayName", s.DisplayName) &&
			q.selects("sessionId", s.ID) && q.selects("sessionLifecycleState", s.LifecycleState) {
			found = append(found, summary{s.ID, s.BastionID, s.BastionName, s.Target, s.DisplayName, s.TTL, s.LifecycleState,
				s.Details, s.TimeCreated, s.TimeUpdated})
		}
	}
	sortBastions(q, found, func(s summary) (string, wireTime) { return s.DisplayName, s.TimeCreated })
	return paginateBy(q, found, bastionPage)
}

func (c *Cloud) deleteJumpSession(q *call) (*reply, error) {
	s, err := c.findJumpSession(q)
	if err != nil {
		return nil, err
	}
	if err := s.ifMatch(q); err != nil {
		return nil, err
	}
	switch s.body.LifecycleState {
	case "DELETED":
		return nil, errNotFound()
	case "ACTIVE", "FAILED":
	default:
		return nil, errState("Session %s is %s", s.body.ID, s.body.LifecycleState)
	}
	s.become("DELETING")
	work := c.newBastionWork(s.place, "DELETE_SESSION", s.bastion.body.CompartmentID, "Session", s.body.ID)
	c.background(func(ctx context.Context) {
		c.bastionStep(ctx, work, s.place, "DeleteSession", "DELETING", "DELETED", c.delays.Session, func() { s.become("DELETED") })
	})
	return (&reply{status: http.StatusAccepted}).with("Opc-Work-Request-Id", work.body.ID), nil
}
