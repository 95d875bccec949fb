// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Principal is somebody who is signed in to a tenancy: what signs the requests
// of clients, in any region.
//
// A user's key signs for ever. Everything else is a token that lives for an
// hour or less, while a search for capacity takes many. So a token and its key
// are one value, a pass; there is a new one before the old one expires, and when
// the service no longer takes it. The providers of Oracle's SDK hand out token
// and key one after the other, and a request on the boundary is then signed with
// what does not belong together.
type Principal struct {
	Tenancy string // OCID
	Region  string // where the principal is at home, or wants to work

	who     string // for messages
	options Options
	issue   func(context.Context) (*pass, error) // nil if there is only one pass

	lock    chan struct{} // held while current is read or replaced
	current *pass
}

// pass is what signs requests for a while. It does not change.
type pass struct {
	keyID   string
	key     *rsa.PrivateKey
	token   jwt
	renew   time.Time // when to look for a new one; zero is never
	expires time.Time
	region  string // where the issuer is; may be empty
}

// KeyID implements common.KeyProvider.
func (p *pass) KeyID() (string, error) { return p.keyID, nil }

// PrivateRSAKey implements common.KeyProvider.
func (p *pass) PrivateRSAKey() (*rsa.PrivateKey, error) { return p.key, nil }

// renewBefore is how long before its end a pass is replaced; a short one in the
// last quarter of its life.
const renewBefore = 5 * time.Minute

// renewPause is the time between attempts to replace a pass that still works.
const renewPause = 30 * time.Second

// newPass is a token with its key.
func newPass(t jwt, key *rsa.PrivateKey) *pass {
	p := &pass{keyID: "ST$" + t.text, key: key, token: t, expires: t.expires}
	if !t.expires.IsZero() {
		p.renew = t.expires.Add(-min(renewBefore, time.Until(t.expires)/4))
	}
	return p
}

// secrets are what must not be printed of a pass that was made here.
func (p *pass) secrets() []string {
	list := []string{p.token.text}
	if der, err := x509.MarshalPKCS8PrivateKey(p.key); err == nil {
		list = append(list, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	return list
}

// signInError says why there is nothing to sign with. The request that needed it
// was not sent.
type signInError struct {
	text string
	// passing says that the next attempt may succeed.
	passing bool
	ctx     error // set if it was only interrupted
}

// interrupted is a sign-in that ctx ended.
func interrupted(ctx context.Context) error {
	return &signInError{text: "interrupted", passing: true, ctx: ctx.Err()}
}

func (e *signInError) Error() string { return e.text }
func (e *signInError) Unwrap() error { return e.ctx }

// signInFor limits how long a sign-in is repeated that the service refuses for
// the moment.
const signInFor = 20 * time.Second

// SignIn makes ready to sign for c. Where the tenancy is known only from a token,
// it asks for the first one; an API key makes no request.
func SignIn(ctx context.Context, c Credentials, o Options) (*Principal, error) {
	p, err := newPrincipal(c, o)
	if err != nil {
		return nil, err
	}
	log.Printf("[INFO] signing in to OCI as %s", p.who)
	if p.current != nil {
		return p, nil
	}
	again := func(err error) bool {
		var e *signInError
		return errors.As(err, &e) && e.passing
	}
	first := func(ctx context.Context) (bool, error) {
		_, err := p.pass(ctx)
		return err == nil, err
	}
	err = wait.Loop{What: "a token to sign in with", Timeout: signInFor, Pace: wait.Backoff, Tolerate: again}.Until(ctx, first)
	if err != nil {
		passes := again(err)
		if err = fmt.Errorf("cannot sign in: %w", err); passes && ctx.Err() == nil {
			err = &cloud.Outage{Err: err}
		}
		return nil, err
	}
	t := p.current.token
	switch {
	case t.tenancy != "" && c.Tenancy != "" && t.tenancy != c.Tenancy:
		return nil, fmt.Errorf("tenancy_ocid is %s, but %s is of tenancy %s", c.Tenancy, p.who, t.tenancy)
	case t.tenancy == "" && c.Tenancy == "":
		return nil, fmt.Errorf("the token of %s does not say of which tenancy it is; set tenancy_ocid", p.who)
	}
	p.Tenancy, p.Region = cmp.Or(t.tenancy, c.Tenancy), cmp.Or(c.Region, p.current.region)
	if p.Region == "" {
		return nil, fmt.Errorf("region must be set: %s does not say where it is", p.who)
	}
	return p, nil
}

// newPrincipal checks c and makes no request.
func newPrincipal(c Credentials, o Options) (*Principal, error) {
	same := func(field string) string { return field }
	if errs := c.Problems(same, same); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p := &Principal{Tenancy: c.Tenancy, Region: c.Region, who: c.who(), options: o, lock: make(chan struct{}, 1)}
	switch c.Kind {
	case APIKey:
		key, err := parseKey(c.pem(), c.Passphrase, "pass_phrase")
		if err != nil {
			return nil, err
		}
		p.current = &pass{keyID: c.Tenancy + "/" + c.User + "/" + c.Fingerprint, key: key}
	case SessionToken:
		p.issue = c.session
		if t, err := readToken(c.TokenFile); err == nil {
			p.Tenancy = cmp.Or(c.Tenancy, t.tenancy)
		}
	case InstancePrincipal:
		p.issue = (&instance{o: o}).issue
	case ResourcePrincipal:
		p.issue = resource
	case WorkloadIdentity:
		p.issue = workload(c.TokenFile)
	case TokenExchange:
		p.issue = (&exchanger{c.Exchange, o}).issue
	default:
		return nil, fmt.Errorf("there is no way to sign in that is called %q", c.Kind)
	}
	return p, nil
}

// acquire takes the lock, unless ctx ends first.
func (p *Principal) acquire(ctx context.Context) error {
	select {
	case p.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	}
}

// pass is what signs a request that is made now.
func (p *Principal) pass(ctx context.Context) (*pass, error) {
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.lock }()
	now := p.current
	if now != nil && (now.renew.IsZero() || time.Now().Before(now.renew)) {
		return now, nil
	}
	err := p.replace(ctx)
	if err == nil || now == nil || !time.Now().Before(now.expires) || ctx.Err() != nil {
		return p.current, err
	}
	// The old one still works. The next request tries again, though not at once.
	log.Printf("[WARN] %s has no new token yet, the old one is valid until %s: %v", p.who, now.expires.UTC().Format(time.TimeOnly), err)
	later := *now
	later.renew = time.Now().Add(min(renewPause, time.Until(now.expires)))
	p.current = &later
	return p.current, nil
}

// after is what to sign with after the service did not take refused; nil if there
// is nothing else.
func (p *Principal) after(ctx context.Context, refused *pass) *pass {
	if p.issue == nil || p.acquire(ctx) != nil {
		return nil
	}
	defer func() { <-p.lock }()
	if p.current.keyID == refused.keyID {
		if err := p.replace(ctx); err != nil {
			log.Printf("[WARN] %s was refused and has no new token: %v", p.who, err)
			return nil
		}
	}
	if p.current.keyID == refused.keyID {
		return nil
	}
	return p.current
}

// replace gets a new pass. The lock is held.
func (p *Principal) replace(ctx context.Context) error {
	fresh, err := p.issue(ctx)
	if err != nil {
		var known *signInError
		if !errors.As(err, &known) {
			err = &signInError{text: err.Error(), passing: true, ctx: ctx.Err()}
		}
		return err
	}
	if p.options.Secret != nil {
		p.options.Secret(fresh.secrets()...)
	}
	p.current = fresh
	return nil
}

// Client prepares the clients of all services in a region. It makes no request.
func (p *Principal) Client(region string) (*Client, error) {
	if p.Tenancy == "" || region == "" {
		return nil, errors.New("not signed in")
	}
	// The SDK takes short names and capitals, too; OCI's replies have only this.
	return newClient(p, FullRegion(region))
}
