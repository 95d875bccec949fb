// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/json"
	"sync"
	"time"
)

// machineCredentials are what the metadata service of an instance says about
// the role of its profile. They are new ones a while before the old ones
// expire.
func (c *Cloud) machineCredentials(i *instance, r *iamRole) func() []byte {
	const life, rest = 6 * time.Hour, 30 * time.Minute
	var mu sync.Mutex
	var have Credentials
	var updated time.Time
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		if time.Until(have.Expires) < rest {
			c.mu.Lock()
			have, _ = c.roleSession(c.iam.of(i.account), r, i.id, life, nil, nil)
			c.keys[have.AccessKeyID].who.Extra["ec2:SourceInstanceARN"] = []string{ec2ARN(i.region.name, i.account.ID, "instance", i.id)}
			c.mu.Unlock()
			updated = time.Now()
		}
		raw, _ := json.MarshalIndent(struct {
			Code, LastUpdated, Type            string
			AccessKeyID                        string `json:"AccessKeyId"`
			SecretAccessKey, Token, Expiration string
		}{"Success", iamTime(updated), "AWS-HMAC", have.AccessKeyID, have.SecretAccessKey, have.SessionToken, iamTime(have.Expires)}, "", "  ") // texts always marshal
		return raw
	}
}
