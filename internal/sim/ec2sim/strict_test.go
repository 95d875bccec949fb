// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func TestCredentials(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].OptIn = []string{"eu-south-1"} })
	ctx := t.Context()
	ask := func(c *ec2.Client) error {
		_, err := c.DescribeVpcs(ctx, nil)
		return err
	}
	good := ec2sim.Credentials{AccessKeyID: k.build.AccessKeyID, SecretAccessKey: k.build.SecretAccessKey}
	if err := ask(k.clientWith(good, region)); err != nil {
		t.Fatal(err)
	}
	session := k.cloud.IssueSession(k.build, time.Hour)
	if err := ask(k.clientWith(session, "eu-central-1")); err != nil {
		t.Errorf("a session: %v", err)
	}
	for name, bad := range map[string]ec2sim.Credentials{
		"unknown key":     {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: good.SecretAccessKey},
		"wrong secret":    {AccessKeyID: good.AccessKeyID, SecretAccessKey: "wrong"},
		"token too many":  {AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey, SessionToken: "x"},
		"session without": {AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey},
		"session's wrong": {AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey, SessionToken: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, ask(k.clientWith(bad, region)), 401, "AuthFailure", "not able to validate")
		})
	}
	over := k.cloud.IssueSession(k.build, -time.Second)
	wantError(t, ask(k.clientWith(over, region)), 400, "RequestExpired", "expired")

	wantError(t, ask(k.clientOf(k.build, "af-south-1")), 401, "AuthFailure", "")
	if err := ask(k.clientOf(k.build, "eu-south-1")); err != nil {
		t.Errorf("a region that was enabled: %v", err)
	}
	strict := newKit(t, func(c *ec2sim.Config) { c.Switches.OptInRequired = true })
	wantError(t, ask(strict.clientOf(strict.build, "af-south-1")), 403, "OptInRequired", "not subscribed")
}

// send signs a form by hand and returns status and body.
func (k *kit) send(form url.Values, change func(r *http.Request), at time.Time, scope ...string) (int, string) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://ec2.us-east-1.amazonaws.com/", strings.NewReader(form.Encode()))
	if err != nil {
		k.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if len(scope) == 0 {
		scope = []string{"ec2", region}
	}
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: k.build.AccessKeyID, SecretAccessKey: k.build.SecretAccessKey},
		r, sha256Hex(form.Encode()), scope[0], scope[1], at)
	if err != nil {
		k.t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := k.net.Client().Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestSignatures(t *testing.T) {
	k := newKit(t, nil)
	form := url.Values{"Action": {"DescribeVpcs"}, "Version": {"2016-11-15"}}
	now := time.Now()
	for name, c := range map[string]struct {
		change func(*http.Request)
		at     time.Time
		scope  []string
		status int
		code   string
	}{
		"good":           {status: 200, code: "<vpcSet>"},
		"none":           {change: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403, code: "MissingAuthenticationToken"},
		"another scheme": {change: func(r *http.Request) { r.Header.Set("Authorization", "AWS x:y") }, status: 400, code: "IncompleteSignature"},
		"cut": {change: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Split(r.Header.Get("Authorization"), ", Signature")[0])
		}, status: 400, code: "IncompleteSignature"},
		"late":            {at: now.Add(-6 * time.Minute), status: 400, code: "RequestExpired"},
		"early":           {at: now.Add(6 * time.Minute), status: 400, code: "RequestExpired"},
		"another region":  {scope: []string{"ec2", "us-west-2"}, status: 401, code: "AuthFailure"},
		"another service": {scope: []string{"s3", region}, status: 401, code: "AuthFailure"},
		"another body": {change: func(r *http.Request) {
			other := "Action=DescribeSubnets&Version=2016-11-15"
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(other)), int64(len(other))
		}, status: 401, code: "AuthFailure"},
		"unsigned header": {change: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, status: 400, code: "IncompleteSignature"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.at.IsZero() {
				c.at = now
			}
			status, body := k.send(form, c.change, c.at, c.scope...)
			if status != c.status || !strings.Contains(body, c.code) {
				t.Errorf("got %d %s, want %d %s", status, body, c.status, c.code)
			}
		})
	}
}

func TestRequestsAreChecked(t *testing.T) {
	k := newKit(t, nil)
	for name, c := range map[string]struct {
		form   string
		status int
		want   string
	}{
		"no action":         {"Version=2016-11-15", 400, "<Code>MissingAction</Code>"},
		"unknown action":    {"Action=DescribeVolcanoes&Version=2016-11-15", 400, "<Code>InvalidAction</Code><Message>The action DescribeVolcanoes is not valid for this web service.</Message>"},
		"old version":       {"Action=DescribeVpcs&Version=2014-01-01", 400, "<Code>NoSuchVersion</Code>"},
		"unknown parameter": {"Action=DescribeVpcs&Version=2016-11-15&VpcID.1=vpc-1", 400, "<Code>UnknownParameter</Code><Message>The parameter VpcID.1 is not recognized</Message>"},
		"deep unknown":      {"Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Values.1=x", 400, "The parameter Filter.1.Values.1 is not recognized"},
		"list from zero":    {"Action=DescribeVpcs&Version=2016-11-15&VpcId.0=vpc-1", 400, "The parameter VpcId.0 is not recognized"},
		"list as value":     {"Action=DescribeVpcs&Version=2016-11-15&VpcId=vpc-1", 400, "The parameter VpcId is not recognized"},
		"value as list":     {"Action=DeleteVolume&Version=2016-11-15&VolumeId.1=vol-1", 400, "The parameter VolumeId.1 is not recognized"},
		"twice":             {"Action=DescribeVpcs&Version=2016-11-15&NextToken=a&NextToken=b", 400, "MalformedQueryString"},
		"missing":           {"Action=DeleteVolume&Version=2016-11-15", 400, "<Code>MissingParameter</Code><Message>The request must contain the parameter VolumeId</Message>"},
		"no number":         {"Action=DescribeVpcs&Version=2016-11-15&MaxResults=many", 400, "InvalidParameterValue"},
		"no boolean":        {"Action=DescribeVpcs&Version=2016-11-15&DryRun=maybe", 400, "InvalidParameterValue"},
		"enumeration":       {"Action=CreateKeyPair&Version=2016-11-15&KeyName=k&KeyType=dsa", 400, "Valid values are: rsa, ed25519"},
		"unknown filter":    {"Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=colour&Filter.1.Value.1=x", 400, "The filter &#39;colour&#39; is invalid"},
		"page of one":       {"Action=DescribeVpcs&Version=2016-11-15&MaxResults=1", 400, "InvalidParameterValue"},
		"wrong token":       {"Action=DescribeVpcs&Version=2016-11-15&NextToken=abc", 400, "InvalidPaginationToken"},
		"dry run":           {"Action=DescribeVpcs&Version=2016-11-15&DryRun=true", 412, "<Code>DryRunOperation</Code>"},
	} {
		t.Run(name, func(t *testing.T) {
			form, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			status, body := k.send(form, nil, time.Now())
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func TestIDsAreChecked(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	for code, call := range map[string]func(id string) error{
		"InvalidInstanceID.Malformed InvalidInstanceID.NotFound i": func(id string) error {
			_, err := k.client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
			return err
		},
		"InvalidAMIID.Malformed InvalidAMIID.NotFound ami": func(id string) error {
			_, err := k.client.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
			return err
		},
		"InvalidSnapshotID.Malformed InvalidSnapshot.NotFound snap": func(id string) error {
			_, err := k.client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
			return err
		},
		"InvalidVolumeID.Malformed InvalidVolume.NotFound vol": func(id string) error {
			_, err := k.client.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
			return err
		},
		"InvalidGroupId.Malformed InvalidGroup.NotFound sg": func(id string) error {
			_, err := k.client.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
			return err
		},
		"InvalidSubnetID.Malformed InvalidSubnetID.NotFound subnet": func(id string) error {
			_, err := k.client.RunInstances(ctx, k.launch(func(in *ec2.RunInstancesInput) { in.SubnetId = &id }))
			return err
		},
	} {
		parts := strings.Fields(code)
		wantError(t, call("nonsense"), 400, parts[0], "nonsense")
		wantError(t, call(parts[2]+"-0123456789abcdef0"), 400, parts[1], "does not exist")
	}
	// What belongs to another account or region does not exist.
	i := k.launched(nil)
	_, err := k.clientOf(k.other, region).TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
	wantError(t, err, 400, "InvalidInstanceID.NotFound", *i.InstanceId)
	_, err = k.clientOf(k.build, "us-west-2").TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
	wantError(t, err, 400, "InvalidInstanceID.NotFound", *i.InstanceId)
}

// TestPlainEndpoint reaches the cloud as AWS_ENDPOINT_URL does, without TLS
// and host names.
func TestPlainEndpoint(t *testing.T) {
	k := newKit(t, nil)
	server := httptest.NewServer(k.cloud)
	defer server.Close()
	for _, name := range []string{region, "eu-west-1"} {
		client := k.clientOf(k.build, name, func(o *ec2.Options) { o.BaseEndpoint, o.HTTPClient = &server.URL, server.Client() })
		out := must[*ec2.DescribeAvailabilityZonesOutput](t)(client.DescribeAvailabilityZones(t.Context(), nil))
		if *out.AvailabilityZones[0].ZoneName != name+"a" {
			t.Errorf("asked in %s, answered in %s", name, *out.AvailabilityZones[0].ZoneName)
		}
	}
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("an unsigned request: %d", resp.StatusCode)
	}
}

func TestCheckIP(t *testing.T) {
	k := newKit(t, nil)
	resp, err := k.net.Client().Get("https://checkip.amazonaws.com/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "198.51.100.7\n" {
		t.Errorf("got %q", body)
	}
}

func TestTagRules(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	group := k.openGroup("g", callerCIDR)
	set := func(id string, tags ...types.Tag) error {
		_, err := k.client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags})
		return err
	}
	tag := func(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }
	wantError(t, set(group, tag("aws:x", "y")), 400, "InvalidParameterValue", "reserved")
	wantError(t, set(group, tag("", "y")), 400, "InvalidParameterValue", "empty")
	wantError(t, set(group, tag(strings.Repeat("k", 129), "y")), 400, "InvalidParameterValue", "128")
	wantError(t, set(group, tag("a", "1"), tag("a", "2")), 400, "InvalidParameterValue", "Duplicate")
	wantError(t, set("nonsense", tag("a", "1")), 400, "InvalidID", "nonsense")
	wantError(t, set("sg-0123456789abcdef0", tag("a", "1")), 400, "InvalidGroup.NotFound", "")
	var many []types.Tag
	for n := range 50 {
		many = append(many, tag(fmt.Sprint("k", n), "v"))
	}
	if err := set(group, many...); err != nil {
		t.Fatal(err)
	}
	if err := set(group, tag("k0", "other")); err != nil {
		t.Errorf("a tag that is changed: %v", err)
	}
	wantError(t, set(group, tag("one too many", "")), 400, "TagLimitExceeded", "50")
	must[*ec2.DeleteTagsOutput](t)(k.client.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{group},
		Tags: []types.Tag{{Key: aws.String("k0"), Value: aws.String("not this")}, {Key: aws.String("k1")}}}))
	out := must[*ec2.DescribeTagsOutput](t)(k.client.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{
		{Name: aws.String("resource-id"), Values: []string{group}}, {Name: aws.String("key"), Values: []string{"k0", "k1"}}}}))
	if len(out.Tags) != 1 || *out.Tags[0].Value != "other" || out.Tags[0].ResourceType != types.ResourceTypeSecurityGroup {
		t.Errorf("left: %+v", out.Tags)
	}
}
