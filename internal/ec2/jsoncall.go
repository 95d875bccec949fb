// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// service is one that speaks JSON, and of which we need a single operation. The
// SDK's clients of these would cost 2 MB and 3 ms at every start.
type service struct {
	name, target, variable string
	region                 string // where it is; empty is the client's
	host                   string // how its host's name begins; empty is its name
}

func parameterStore() service {
	return service{name: "ssm", target: "AmazonSSM.GetParameter", variable: "AWS_ENDPOINT_URL_SSM"}
}

func serviceQuotas() service {
	return service{name: "servicequotas", target: "ServiceQuotasV20190624.GetServiceQuota", variable: "AWS_ENDPOINT_URL_SERVICE_QUOTAS"}
}

// in is the region of the service.
func (s service) in(c *Client) string { return cmp.Or(s.region, c.Region) }

// endpoint is where the service is in a region.
func (s service) endpoint(c *Client) string {
	base := ""
	if b := c.by.cfg.BaseEndpoint; b != nil {
		base = *b
	}
	host := fmt.Sprintf("https://%s.%s.amazonaws.com", cmp.Or(s.host, s.name), s.in(c))
	if strings.HasPrefix(c.Region, "cn-") {
		host += ".cn"
	}
	return strings.TrimSuffix(cmp.Or(os.Getenv(s.variable), base, host), "/") + "/"
}

// jsonCall asks a service for its operation, once. Errors are like those of the
// SDK.
func (c *Client) jsonCall(ctx context.Context, s service, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint(c), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", s.target)
	if a := c.by.options.UserAgent; a != "" {
		req.Header.Set("User-Agent", a)
	}
	keys, err := c.by.keys.Retrieve(ctx)
	if err != nil {
		return err
	}
	now, hash := time.Now(), sha256.Sum256(body)
	if c.by.clockOff() != "" {
		now = now.Add(time.Duration(c.by.skew.Load()))
	}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(hash[:]), s.name, s.in(c), now); err != nil {
		return err
	}
	resp, err := c.by.cfg.HTTPClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		if json.Unmarshal(data, out) != nil {
			return errNoAnswer
		}
		return nil
	}
	var problem struct {
		Type         string `json:"__type"`
		Message      string `json:"message"`
		OtherMessage string `json:"Message"`
	}
	_ = json.Unmarshal(data, &problem) // a gateway's page has no code
	_, code, named := strings.Cut(problem.Type, "#")
	if !named {
		code = problem.Type
	}
	return &awshttp.ResponseError{
		RequestID: resp.Header.Get("X-Amzn-Requestid"),
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: resp},
			Err:      &smithy.GenericAPIError{Code: code, Message: cmp.Or(problem.Message, problem.OtherMessage)},
		},
	}
}

// parameterIn reads a parameter of SSM.
func (c *Client) parameterIn(ctx context.Context, name string) (string, error) {
	var out struct{ Parameter struct{ Value string } }
	err := c.jsonCall(ctx, parameterStore(), map[string]string{"Name": name}, &out)
	return out.Parameter.Value, err
}

// quotaOf reads a quota of EC2.
func (c *Client) quotaOf(ctx context.Context, code string) (float64, error) {
	var out struct{ Quota struct{ Value *float64 } }
	err := c.jsonCall(ctx, serviceQuotas(), map[string]string{"ServiceCode": "ec2", "QuotaCode": code}, &out)
	if err == nil && out.Quota.Value == nil {
		err = errNoAnswer
	}
	if err != nil {
		return 0, err
	}
	return *out.Quota.Value, nil
}
