// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
)

// Blocks is a client of the EBS direct APIs that keeps so many connections open. The
// SDK's own client keeps ten, and would dial anew for all others that it needs at the
// same time. Requests are made once.
func (c *Client) Blocks(connections int) *ebs.Client {
	cfg := c.by.cfg.Copy()
	cfg.Region = c.Region
	if t, ok := cfg.HTTPClient.(*transport); ok {
		if b, ok := t.next.(*awshttp.BuildableClient); ok {
			cfg.HTTPClient = &transport{skew: t.skew, told: t.told, next: b.WithTransportOptions(func(t *http.Transport) {
				t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
			})}
		}
	}
	return ebs.NewFromConfig(cfg)
}
