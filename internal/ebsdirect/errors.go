// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// reason says whether a request was refused for one of the reasons.
func reason(err error, reasons ...string) bool {
	var v *types.ValidationException
	return errors.As(err, &v) && slices.Contains(reasons, string(v.Reason))
}

// throttled says that there were too many requests.
func throttled(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && slices.Contains([]string{
		"RequestThrottledException", "ThrottlingException", "ConcurrentLimitExceededException", "RequestLimitExceeded", "Throttling", "TooManyRequestsException", "SlowDown",
	}, e.ErrorCode())
}

// passing says that the same request may succeed a little later.
func passing(err error) bool {
	var response *smithyhttp.ResponseError
	var api smithy.APIError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case throttled(err), errors.Is(err, errNotWhole):
		return true
	case errors.As(err, &response) && (response.HTTPStatusCode() >= http.StatusInternalServerError || response.HTTPStatusCode() == http.StatusTooManyRequests):
		return true
	// The SDK signs the next request with what it has learned of the time, or with a
	// new session.
	case errors.As(err, &api):
		return slices.Contains([]string{"RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken"}, api.ErrorCode())
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return false
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, new(*smithyhttp.RequestSendError))
}
