// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/logging"
)

// sessionName is that of a session for which the template names none.
const sessionName = "packer-armfree"

// renewBefore is how long before their end temporary keys are replaced.
const renewBefore = 5 * time.Minute

// load reads what files and environment say, and decides whose keys sign.
func (p *principal) load(ctx context.Context) error {
	c := p.creds
	var opts []func(*config.LoadOptions) error
	add := func(o config.LoadOptionsFunc) { opts = append(opts, o) }
	if p.options.HTTP != nil {
		add(config.WithHTTPClient(p.options.HTTP))
	} else {
		add(config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			if c.SkipTLS {
				t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // insecure_skip_tls_verify asks for it
			}
		})))
	}
	if c.Region != "" {
		add(config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		add(config.WithSharedConfigProfile(c.Profile))
	}
	if c.SharedFile != "" {
		add(config.WithSharedCredentialsFiles([]string{c.SharedFile}))
		add(config.WithSharedConfigFiles([]string{config.DefaultSharedConfigFilename(), c.SharedFile}))
	}
	if c.NoIMDS {
		add(config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	add(config.WithLogger(logging.Nop{}))
	add(config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	switch {
	case c.AccessKey != "":
		p.who = "the access key " + c.AccessKey
		add(config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, c.Token)))
	case c.Profile != "":
		p.who = fmt.Sprintf("the profile %q", c.Profile)
	default:
		p.who = "the credentials that AWS's SDK found"
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		var none config.SharedConfigProfileNotExistError
		if errors.As(err, &none) {
			return fmt.Errorf("there is no profile %q in AWS's files; name another by profile or AWS_PROFILE", none.Profile)
		}
		return fmt.Errorf("AWS's configuration cannot be read: %w", err)
	}
	p.cfg = cfg
	inner := cfg.Credentials
	if w := c.WebIdentity; w != nil && c.AccessKey == "" {
		p.who = "the web identity for " + w.RoleARN
		inner = p.exchange(*w)
	}
	for _, role := range c.Roles {
		inner = p.assume(inner, role)
		p.who = "the role " + role.ARN
	}
	if inner == nil {
		inner = aws.AnonymousCredentials{}
	}
	p.keys = newKeys(inner, p.options.Secret)
	p.settle()
	return nil
}

// sts is a client for exchanges, signed by inner.
func (p *principal) sts(inner aws.CredentialsProvider) *sts.Client {
	cfg := p.cfg.Copy()
	cfg.Credentials = inner
	cfg.HTTPClient = &transport{next: cfg.HTTPClient, skew: p.skew, told: p.told}
	cfg.Region = cmp.Or(cfg.Region, "us-east-1")
	return sts.NewFromConfig(cfg)
}

// assume signs as a role that inner assumes.
func (p *principal) assume(inner aws.CredentialsProvider, r Role) aws.CredentialsProvider {
	return stscreds.NewAssumeRoleProvider(p.sts(aws.NewCredentialsCache(inner)), r.ARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = cmp.Or(r.SessionName, sessionName)
		o.Duration = time.Duration(cmp.Or(r.DurationSeconds, 3600)) * time.Second
		o.ExternalID, o.Policy = text(r.ExternalID), text(r.Policy)
		o.PolicyARNs, o.TransitiveTagKeys = arns(r.PolicyARNs), r.TransitiveTags
		for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
			o.Tags = append(o.Tags, ststypes.Tag{Key: aws.String(k), Value: aws.String(r.Tags[k])})
		}
	})
}

func arns(list []string) (all []ststypes.PolicyDescriptorType) {
	for _, a := range list {
		all = append(all, ststypes.PolicyDescriptorType{Arn: aws.String(a)})
	}
	return all
}

// keys are what requests are signed with. They are replaced before they end, and
// each is told to the masker as soon as it is there.
type keys struct {
	cache  *aws.CredentialsCache
	inner  aws.CredentialsProvider
	secret func(...string)

	mu   sync.Mutex
	last aws.Credentials
}

func newKeys(inner aws.CredentialsProvider, secret func(...string)) *keys {
	return &keys{inner: inner, secret: secret, cache: aws.NewCredentialsCache(inner, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })}
}

// Retrieve implements aws.CredentialsProvider.
func (k *keys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := k.cache.Retrieve(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return got, ctx.Err()
		}
		return got, &signInError{cause: err, passing: passing(wrap("exchange", "", err))}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if got.SecretAccessKey != k.last.SecretAccessKey && k.secret != nil {
		k.secret(got.SecretAccessKey, got.SessionToken)
	}
	k.last = got
	return got, nil
}

// session says whether the keys are those of a session, which ends.
func (k *keys) session() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last.SessionToken != ""
}

// renew forgets the keys, if there may be others.
func (k *keys) renew() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, fixed := k.inner.(credentials.StaticCredentialsProvider); fixed || !k.last.CanExpire {
		return false
	}
	k.cache.Invalidate()
	return true
}

// text is a string as the SDK wants it: nil if it is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
