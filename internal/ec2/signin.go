// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// SignIn is NewClient, and proves by one request that AWS lets the principal in.
func SignIn(ctx context.Context, c Credentials, o Options) (*Client, error) {
	cl, err := NewClient(ctx, c, o)
	if err != nil || c.SkipCheck {
		return cl, err
	}
	err = cl.repeat(ctx, "get caller identity", "", func(ctx context.Context) error {
		r, err := cl.whoAmI(ctx, &sts.GetCallerIdentityInput{})
		if err == nil && r.Account == nil {
			err = errNoAnswer
		}
		if err == nil {
			cl.Account, cl.ARN = aws.ToString(r.Account), aws.ToString(r.Arn)
		}
		return err
	})
	if err != nil && passing(err) {
		return nil, &cloud.Outage{Err: cl.explain(err)}
	}
	if err != nil {
		return nil, cl.explain(err)
	}
	return cl, nil
}

// signInError says that there is nothing to sign with.
type signInError struct {
	cause   error
	passing bool
}

func (e *signInError) Unwrap() error { return e.cause }

func (e *signInError) Error() string {
	var api smithy.APIError
	if errors.As(e.cause, &api) {
		return fmt.Sprintf("no keys to sign with: %s (%s)", api.ErrorMessage(), api.ErrorCode())
	}
	msg := e.cause.Error()
	if strings.Contains(msg, "no EC2 IMDS role found") || strings.Contains(msg, "IMDS") && strings.Contains(msg, "disabled") {
		return "no credentials were found: not in the template, the environment, the files of AWS, or on the machine that Packer runs on"
	}
	return "no keys to sign with: " + msg
}

// refused says that a service does not let the principal in, whatever it asks
// for.
func refused(err error) bool {
	return signInFailed(err) || code(err, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
		"InvalidSignatureException", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "IncompleteSignature", "MissingAuthenticationToken",
		"InvalidAccessKeyId", "RequestTimeTooSkewed", "RequestInTheFuture")
}

func signInFailed(err error) bool {
	var s *signInError
	return errors.As(err, &s) && !s.passing
}

// clockRefused says that a wrong clock may be why a request was refused.
func clockRefused(err error) bool {
	return code(err, "RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure", "RequestTimeTooSkewed", "RequestInTheFuture")
}

// sessionOver says that the keys were good once.
func sessionOver(err error) bool {
	return code(err, "ExpiredToken", "ExpiredTokenException", "RequestExpired")
}

// maxSkew is how far a clock may be off before it is what a refusal is about. AWS
// allows five minutes; the dates of replies count whole seconds.
const maxSkew = 4*time.Minute + 50*time.Second

// clockOff says how far this computer's clock is off, or nothing if it is not.
func (p *principal) clockOff() string {
	switch ahead := time.Duration(p.skew.Load()); {
	case ahead > maxSkew:
		return fmt.Sprintf("this computer's clock is %s slow; set it right", ahead.Round(10*time.Second))
	case ahead < -maxSkew:
		return fmt.Sprintf("this computer's clock is %s fast; set it right", (-ahead).Round(10*time.Second))
	}
	return ""
}

// oldSignature is how STS says that a signature is too old, or from the future.
var oldSignature = regexp.MustCompile(`(?i)signature (expired|not yet current)`)

// explain says what to check where the principal was refused. Other errors stay
// as they are.
func (c *Client) explain(err error) error {
	if !refused(err) {
		return err
	}
	return fmt.Errorf("AWS in %s does not let in %s: %s: %w", c.Region, c.by.who, c.whyNot(err), err)
}

func (c *Client) whyNot(err error) string {
	var e *Error
	_ = errors.As(err, &e)
	off := c.by.clockOff()
	from := ""
	if f := c.by.creds.From; f != "" {
		from = " (" + f + ")"
	}
	switch {
	case signInFailed(err):
		return "there is nothing to sign requests with"
	case off != "" && clockRefused(err):
		return off
	case oldSignature.MatchString(e.Message), code(err, "RequestTimeTooSkewed", "RequestInTheFuture"):
		return "this computer's clock is wrong; set it right"
	case sessionOver(err) && c.by.keys.session():
		return "the session has ended, its token" + from + " has expired; get a new one"
	case sessionOver(err):
		return "AWS says that the request is too old; check this computer's clock"
	case code(err, "SignatureDoesNotMatch", "InvalidSignatureException"):
		return "the secret key is not the one of the access key" + from + "; check that it was copied whole"
	case code(err, "AuthFailure"):
		return "the access key" + from + " does not exist, is inactive or has another secret key, or the account has not enabled this region"
	case code(err, "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"):
		if c.by.keys.session() {
			return "the session" + from + " is not valid here: it was revoked, or the account has not enabled this region"
		}
		return "the access key" + from + " does not exist or is inactive"
	}
	return "the signature is not in order"
}

// details adds to a refusal by IAM what its encoded message says, if the user
// wants that.
func (c *Client) details(ctx context.Context, err error) error {
	b := blob(err)
	if b == "" || !c.by.creds.DecodeMessages {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, derr := c.decode(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &b})
	if derr != nil || r.DecodedMessage == nil {
		return err
	}
	return fmt.Errorf("%w; decoded: %s", err, *r.DecodedMessage)
}
