// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
)

// Blocks is a client of the EBS direct APIs that keeps so many connections open. The
// SDK's own client keeps ten, and would dial anew for all others that it needs at the
// same time. Requests are made once.
func (c *Client) Blocks(connections int) *ebs.Client {
	cfg := c.by.cfg.Copy()
	cfg.Region = c.Region
	cfg.HTTPClient = c.connections(connections)
	return ebs.NewFromConfig(cfg)
}

// connections is what makes requests and keeps so many connections open.
func (c *Client) connections(n int) aws.HTTPClient {
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	if made := c.by.wide[n]; made != nil {
		return made
	}
	made := c.by.cfg.HTTPClient
	if t, ok := made.(*transport); ok {
		if b, ok := t.next.(*awshttp.BuildableClient); ok {
			made = &transport{skew: t.skew, told: t.told, next: b.WithTransportOptions(func(t *http.Transport) {
				t.MaxIdleConns, t.MaxIdleConnsPerHost = n, n
			})}
		}
	}
	if c.by.wide == nil {
		c.by.wide = map[int]aws.HTTPClient{}
	}
	c.by.wide[n] = made
	return made
}
