// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Account is a customer: one user with an access key. Make it with
// [NewAccount]; the exported fields may be changed until it is given to [New].
type Account struct {
	Name string
	ID   string // twelve digits
	// UserName is the user that AccessKeyID and SecretAccessKey belong to.
	UserName        string
	AccessKeyID     string
	SecretAccessKey string

	// FreePlan makes it an account of the free plan: types and images that
	// are not eligible are refused.
	FreePlan bool
	// OptIn are the regions it has enabled beyond those that all accounts
	// have.
	OptIn []string
	// Quotas overrides quotas by their code, such as QuotaOnDemand, in all
	// regions, or by "region/code" in one.
	Quotas map[string]float64
	// NoDefaultVPC are the regions whose default VPC the account has deleted.
	NoDefaultVPC []string
	// InstanceProfiles are the names of IAM instance profiles that exist.
	InstanceProfiles []string
	// KMSKeys are ids of KMS keys that exist in every region, beside the
	// alias alias/aws/ebs.
	KMSKeys []string

	userID string
}

// NewAccount makes an account with fresh identifiers.
func NewAccount(name string) *Account {
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		panic("no randomness: " + err.Error())
	}
	return &Account{
		Name: name, ID: fmt.Sprintf("%012d", n.Int64()+100_000_000_000), UserName: "packer",
		AccessKeyID: "AKIA" + randomUpper(16), SecretAccessKey: randomHex(20),
		Quotas: map[string]float64{}, userID: "AIDA" + randomUpper(17),
	}
}

// Principal is the account's user.
func (a *Account) Principal() Principal {
	return Principal{Account: a, ARN: "arn:aws:iam::" + a.ID + ":user/" + a.UserName, ID: a.userID, Name: a.UserName}
}

// enabled tells whether the account may use a region.
func (a *Account) enabled(r *region) bool {
	if !r.optIn {
		return true
	}
	for _, name := range a.OptIn {
		if name == r.name {
			return true
		}
	}
	return false
}

// credential is an access key with its secret.
type credential struct {
	who     Principal
	secret  string
	token   string    // "" for keys that last
	visible time.Time // from when on it is known everywhere
	expires time.Time // of a session
}

// Credentials are what a client signs with.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time // zero if never
}

// issue makes temporary credentials for a principal. The cloud's lock is held.
func (c *Cloud) issue(who Principal, life time.Duration) Credentials {
	who.Session = true
	made := Credentials{"ASIA" + randomUpper(16), randomHex(20), randomHex(64), time.Now().Add(life)}
	c.keys[made.AccessKeyID] = &credential{who: who, secret: made.SecretAccessKey, token: made.SessionToken, expires: made.Expires}
	return made
}

// IssueSession makes temporary credentials of an account's user, such as STS
// hands out.
func (c *Cloud) IssueSession(a *Account, life time.Duration) Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issue(a.Principal(), life)
}

// AddUser makes another user of an account, who may do everything, with an
// access key.
func (c *Cloud) AddUser(a *Account, name string) (Principal, Credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.iam.of(a)
	u := in.newUser(name, "/", "AIDA"+randomUpper(17))
	u.attached, u.given = []*managedPolicy{in.policies[administratorAccess]}, true
	made := c.newAccessKey(in, u)
	return in.principal(u), made
}

// randomHex makes n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("no randomness: " + err.Error())
	}
	return hex.EncodeToString(b)
}

// randomUpper makes n random characters as access keys have.
func randomUpper(n int) string { return strings.ToUpper(rand.Text() + rand.Text())[:n] }

// newID makes an id such as i-0123456789abcdef0.
func newID(prefix string) string { return prefix + "-0" + randomHex(8) }
