// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"errors"
	"strings"
	"testing"
)

// statement is a policy with one statement.
func statement(text string) string {
	return `{"Version":"2012-10-17","Statement":[` + text + `]}`
}

func TestPoliciesAreReadStrictly(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":            {`{`, "Syntax errors"},
		"an array":           {`[]`, "an object is needed"},
		"something behind":   {statement(`{"Effect":"Allow","Action":"*","Resource":"*"}`) + `x`, "behind"},
		"twice":              {`{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}`, "Version is there twice"},
		"version":            {`{"Version":"2012-10-18","Statement":[]}`, "must be version"},
		"no statement":       {`{"Version":"2012-10-17"}`, "no statement"},
		"an unknown element": {`{"Version":"2012-10-17","Statements":[]}`, "unknown element Statements"},
		"unknown in it":      {statement(`{"Effect":"Allow","Actions":"*","Resource":"*"}`), "unknown element Actions"},
		"effect":             {statement(`{"Effect":"allow","Action":"*","Resource":"*"}`), "Effect is Allow or Deny"},
		"no effect":          {statement(`{"Action":"*","Resource":"*"}`), "needs an Effect"},
		"no action":          {statement(`{"Effect":"Allow","Resource":"*"}`), "must contain actions"},
		"both actions":       {statement(`{"Effect":"Allow","Action":"*","NotAction":"ec2:*","Resource":"*"}`), "must contain actions"},
		"no resource":        {statement(`{"Effect":"Allow","Action":"*"}`), "must contain resources"},
		"no vendor":          {statement(`{"Effect":"Allow","Action":"RunInstances","Resource":"*"}`), "prefaced by a vendor"},
		"a principal":        {statement(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`), "should not specify a principal"},
		"no ARN":             {statement(`{"Effect":"Allow","Action":"ec2:*","Resource":"instance/*"}`), "must be in ARN format"},
		"a short ARN":        {statement(`{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:us-east-1:instance"}`), "must be in ARN format"},
		"partition":          {statement(`{"Effect":"Allow","Action":"ec2:*","Resource":"arn:awz:ec2:*:*:instance/*"}`), "Partition"},
		"an id":              {statement(`{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}`), "alpha-numeric"},
		"an id twice": {statement(`{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}`),
			"must be unique"},
		"an operator":  {statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{"aws:username":"x"}}}`), "invalid condition type"},
		"a set":        {statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForSomeValues:StringEquals":{"aws:username":"x"}}}`), "invalid condition type"},
		"a key":        {statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"username":"x"}}}`), "prefaced by a vendor"},
		"a truth":      {statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"yes"}}}`), "true and false"},
		"NullIfExists": {statement(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NullIfExists":{"aws:username":"true"}}}`), "invalid condition type"},
	} {
		_, err := parsePolicy("p", c.text, identityPolicy)
		var refused *apiError
		if !errors.As(err, &refused) || refused.code != "MalformedPolicyDocument" || !strings.Contains(refused.message, c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ text, says string }{
		"a resource":     {statement(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`), "prohibited field Resource"},
		"no principal":   {statement(`{"Effect":"Allow","Action":"sts:AssumeRole"}`), "Missing required field Principal"},
		"another action": {statement(`{"Effect":"Allow","Principal":"*","Action":"ec2:*"}`), "may only specify STS"},
		"a principal":    {statement(`{"Effect":"Allow","Principal":{"Somebody":"x"},"Action":"sts:AssumeRole"}`), "not valid"},
		"GitHub": {statement(`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::1:oidc-provider/token.actions.githubusercontent.com"},` +
			`"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com"}}}`), "sub"},
	} {
		if _, err := parsePolicy("p", c.text, trustPolicy); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("trust, %s: %v", name, err)
		}
	}
}

// One request, and statements that allow it or not.
func TestStatements(t *testing.T) {
	keys := keysOf(map[string][]string{
		"aws:RequestedRegion": {"eu-central-1"}, "aws:username": {"packer"}, "aws:SourceIp": {"198.51.100.7"}, "aws:SecureTransport": {"true"},
		"aws:CurrentTime": {"2026-11-20T10:00:00Z"}, "aws:PrincipalTag/team": {"blue*"},
	}, map[string][]string{
		"aws:RequestTag/armfree:build": {"b1"}, "aws:TagKeys": {"armfree:build", "Name"}, "ec2:InstanceType": {"t4g.micro"}, "ec2:VolumeSize": {"10"},
		"aws:ResourceTag/team": {"blue*"},
	})
	const action, arn = "ec2:RunInstances", "arn:aws:ec2:eu-central-1:111122223333:instance/*"
	for text, allowed := range map[string]bool{
		`"Action":"*","Resource":"*"`:                                                                                  true,
		`"Action":"EC2:runinstances","Resource":"*"`:                                                                   true,
		`"Action":["ec2:Describe*","ec2:Run?nstances"],"Resource":"*"`:                                                 true,
		`"Action":"ec2:Describe*","Resource":"*"`:                                                                      false,
		`"NotAction":"iam:*","Resource":"*"`:                                                                           true,
		`"NotAction":"ec2:Run*","Resource":"*"`:                                                                        false,
		`"Action":"ec2:*","Resource":"arn:aws:ec2:*:*:instance/*"`:                                                     true,
		`"Action":"ec2:*","Resource":"arn:aws:ec2:*"`:                                                                  true,
		`"Action":"ec2:*","Resource":"arn:aws:ec2:*:*:volume/*"`:                                                       false,
		`"Action":"ec2:*","Resource":"arn:aws:ec2:*:instance/*"`:                                                       false,
		`"Action":"ec2:*","Resource":"arn:aws:ec2:us-*:*:*"`:                                                           false,
		`"Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:volume/*"`:                                                    true,
		`"Action":"ec2:*","NotResource":"arn:aws:ec2:*:*:instance/*"`:                                                  false,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"AWS:requestedregion":["x","eu-central-1"]}}`:        true,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-*"}}`:                      false,
		`"Action":"*","Resource":"*","Condition":{"StringLike":{"aws:RequestedRegion":"eu-*"}}`:                        true,
		`"Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-central-1"}}`:           false,
		`"Action":"*","Resource":"*","Condition":{"StringNotLike":{"aws:RequestedRegion":"us-*"}}`:                     true,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/none":"x"}}`:                        false,
		`"Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:ResourceTag/none":"x"}}`:                     true,
		`"Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"aws:ResourceTag/none":"x"}}`:                true,
		`"Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"ec2:InstanceType":"x"}}`:                    false,
		`"Action":"*","Resource":"*","Condition":{"StringEqualsIgnoreCase":{"ec2:InstanceType":"T4G.MICRO"}}`:          true,
		`"Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/armfree:build":"false"}}`:                    true,
		`"Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/armfree:build":true}}`:                       false,
		`"Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/none":"true"}}`:                              true,
		`"Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true}}`:                                true,
		`"Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false"}}`:                      false,
		`"Action":"*","Resource":"*","Condition":{"NumericLessThanEquals":{"ec2:VolumeSize":"30"}}`:                    true,
		`"Action":"*","Resource":"*","Condition":{"NumericLessThanEquals":{"ec2:VolumeSize":9}}`:                       false,
		`"Action":"*","Resource":"*","Condition":{"NumericNotEquals":{"ec2:VolumeSize":9}}`:                            true,
		`"Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-11-19"}}`:                 true,
		`"Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-19T00:00:00Z"}}`:          false,
		`"Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","198.51.100.0/24"]}}`:      true,
		`"Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"198.51.100.7"}}`:                     false,
		`"Action":"*","Resource":"*","Condition":{"ForAllValues:StringLike":{"aws:TagKeys":["armfree:*","Name"]}}`:     true,
		`"Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["Name"]}}`:               false,
		`"Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:None":["Name"]}}`:                  true,
		`"Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["Name"]}}`:                true,
		`"Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:None":["Name"]}}`:                   false,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:TagKeys":["Name","armfree:build"]}}`:            false,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:username}"}}`:                  true,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:none}"}}`:                      false,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:none, 'packer'}"}}`:            true,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`: true,
		`"Action":"*","Resource":"*","Condition":{"StringLike":{"ec2:InstanceType":"${*}"}}`:                           false,
		`"Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"packer","aws:RequestedRegion":"x"}}`: false,
	} {
		p, err := parsePolicy("p", statement(`{"Effect":"Allow",`+text+`}`), identityPolicy)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if grants, _ := judge([]*policy{p}, action, arn, keys); (len(grants) > 0) != allowed {
			t.Errorf("%s: allowed %v, want %v", text, !allowed, allowed)
		}
	}
	old, err := parsePolicy("p", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:username}"}}}}`, identityPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if grants, _ := judge([]*policy{old}, action, arn, keys); len(grants) > 0 {
		t.Error("a policy of the old version has variables")
	}
	both, err := parsePolicy("p", statement(`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ec2:Run*","Resource":"*"}`), identityPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if _, deny := judge([]*policy{both}, action, arn, keys); !deny {
		t.Error("an explicit deny does not win")
	}
}
