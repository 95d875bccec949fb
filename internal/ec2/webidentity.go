// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// exchange gives keys of a role for another issuer's token, which is fetched anew
// each time. The SDK's own provider fetches tokens without a context.
type exchange struct {
	w      WebIdentity
	assume func(context.Context, *sts.AssumeRoleWithWebIdentityInput, ...func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error)
	http   aws.HTTPClient
	secret func(...string)
}

func (p *principal) exchange(w WebIdentity) *exchange {
	return &exchange{w: w, assume: p.sts(aws.AnonymousCredentials{}).AssumeRoleWithWebIdentity, http: p.cfg.HTTPClient, secret: p.options.Secret}
}

// Retrieve implements aws.CredentialsProvider.
func (x *exchange) Retrieve(ctx context.Context) (none aws.Credentials, err error) {
	token, err := x.token(ctx)
	if err != nil {
		return none, err
	}
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &x.w.RoleARN, RoleSessionName: aws.String(cmp.Or(x.w.SessionName, sessionName)), WebIdentityToken: &token,
		DurationSeconds: aws.Int32(int32(cmp.Or(x.w.DurationSeconds, 3600))), //nolint:gosec // at most 43200
		Policy:          text(x.w.Policy), PolicyArns: arns(x.w.PolicyARNs),
	}
	r, err := x.assume(ctx, in)
	if err != nil {
		return none, fmt.Errorf("the role %s is not given for this token: %w", x.w.RoleARN, err)
	}
	if r.Credentials == nil {
		return none, errNoAnswer
	}
	c := r.Credentials
	return aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey), SessionToken: aws.ToString(c.SessionToken),
		Source: "web identity", CanExpire: c.Expiration != nil, Expires: aws.ToTime(c.Expiration),
	}, nil
}

// token is the issuer's token.
func (x *exchange) token(ctx context.Context) (token string, err error) {
	switch {
	case x.w.TokenFile != "":
		data, err := os.ReadFile(x.w.TokenFile)
		if token = strings.TrimSpace(string(data)); err == nil && token == "" {
			err = fmt.Errorf("the file %s with the token is empty", x.w.TokenFile)
		}
		if err != nil {
			return "", err
		}
	case x.w.Token != "":
		return x.w.Token, nil
	default:
		if token, err = x.github(ctx); err != nil {
			return "", err
		}
	}
	if x.secret != nil {
		x.secret(token)
	}
	return token, nil
}

// github asks GitHub Actions for a token.
func (x *exchange) github(ctx context.Context) (string, error) {
	u, err := url.Parse(x.w.RequestURL)
	if err != nil {
		return "", errors.New("the URL at which GitHub gives tokens cannot be read")
	}
	q := u.Query()
	q.Set("audience", cmp.Or(x.w.Audience, "sts.amazonaws.com"))
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+x.w.RequestToken)
	resp, err := x.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("GitHub gives no token: %w", err)
	}
	defer resp.Body.Close()
	var body struct{ Value string }
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(data, &body)
	}
	if err != nil || body.Value == "" {
		return "", fmt.Errorf("GitHub gives no token (%s); the job needs permissions: id-token: write", resp.Status)
	}
	return body.Value, nil
}
