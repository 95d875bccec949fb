// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/armfree/packer-plugin-armfree/internal/trace"
)

// Client is one principal's access to one region.
type Client struct {
	Region  string
	Account string // twelve digits; empty as long as SignIn has not asked
	ARN     string // of the principal; likewise

	api
	by *principal
}

// Options are what tests and user agents need.
type Options struct {
	// UserAgent is appended to the SDK's own, "packer-plugin-armfree/1.2.3".
	UserAgent string
	// HTTP replaces the SDK's HTTP client, for tests that have a network of
	// their own.
	HTTP *http.Client
	// Secret, if set, is told what must never be printed as soon as it exists:
	// keys and tokens that were exchanged.
	Secret func(...string)
}

// principal is who signs in; it makes the clients of all regions.
type principal struct {
	cfg     aws.Config
	who     string // "the access key AKIA..." and so on, for messages
	keys    *keys
	creds   Credentials
	options Options
	skew    *atomic.Int64 // how far AWS's clock is ahead of this computer's
	told    *atomic.Bool  // a reply has said so

	mu      sync.Mutex
	clients map[string]*Client     // by region
	wide    map[int]aws.HTTPClient // by how many connections they keep
}

// NewClient prepares the clients of all services for one region. It makes no
// request.
func NewClient(ctx context.Context, c Credentials, o Options) (*Client, error) {
	p := &principal{creds: c, options: o, skew: new(atomic.Int64), told: new(atomic.Bool), clients: map[string]*Client{}}
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	region := cmp.Or(c.Region, p.cfg.Region)
	if region == "" {
		return nil, fmt.Errorf("no region is set; set region, or the environment variable AWS_REGION")
	}
	return p.in(region), nil
}

// In is the same principal's access to another region.
func (c *Client) In(region string) *Client { return c.by.in(region) }

// Now is the time by AWS's clock, or by this computer's as long as no reply has told
// it.
func (c *Client) Now() time.Time { return time.Now().Add(time.Duration(c.by.skew.Load())) }

// in makes the clients of a region once.
func (p *principal) in(region string) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[region]; c != nil {
		return c
	}
	cfg := p.cfg.Copy()
	cfg.Region = region
	e := ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		if p.creds.Endpoint != "" && region == p.creds.Region {
			o.BaseEndpoint = &p.creds.Endpoint
		}
	})
	c := &Client{Region: region, by: p, api: newAPI(e, sts.NewFromConfig(cfg), iam.NewFromConfig(cfg))}
	p.clients[region] = c
	return c
}

// settle makes what p has loaded fit for our calls: exactly one attempt each,
// signed by our keys, and with an eye on the clock.
func (p *principal) settle() {
	p.cfg.Credentials = p.keys
	p.cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	p.cfg.RetryMaxAttempts, p.cfg.RetryMode = 1, ""
	p.cfg.HTTPClient = &transport{next: p.cfg.HTTPClient, skew: p.skew, told: p.told}
	if a := p.options.UserAgent; a != "" {
		p.cfg.APIOptions = append(p.cfg.APIOptions, middleware.AddUserAgentKey(a))
	}
}

// transport notes how far this computer's clock is off, by the dates of replies.
//
// It also sends requests with a body of their own. The SDK closes the one it made
// as soon as the head of the reply is there. If net/http has not yet seen its end by
// then, it takes that for a broken request and drops the connection, and the reply
// with it.
type transport struct {
	next aws.HTTPClient
	skew *atomic.Int64
	told *atomic.Bool
}

// spanName is what a request asks for, for a trace: by the query protocol of EC2 and STS,
// by the target of the JSON ones, or by its path.
func spanName(r *http.Request, body []byte) string {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		return target
	}
	if bytes.HasPrefix(body, []byte("Action=")) {
		name, _, _ := bytes.Cut(body[len("Action="):], []byte("&"))
		return string(name)
	}
	return r.Method + " " + r.URL.Path
}

// Do implements aws.HTTPClient.
func (c *transport) Do(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil && r.Body != http.NoBody {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		own := *r
		own.Body = io.NopCloser(bytes.NewReader(body))
		r = &own
	}
	end := trace.Begin(r.Context(), trace.Request, spanName(r, body))
	sent := time.Now()
	resp, err := c.next.Do(r)
	end(trace.Outcome(resp, err))
	if err != nil || resp == nil {
		return resp, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now := time.Now()
		c.skew.Store(int64(date.Sub(sent.Add(now.Sub(sent) / 2))))
		c.told.Store(true)
	}
	return resp, nil
}
