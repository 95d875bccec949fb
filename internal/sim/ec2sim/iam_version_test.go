// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// A managed policy has up to five versions, of which one counts.
func TestPolicyVersions(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	admin := iam.New(iam.Options{Region: region, HTTPClient: simnet.Whole{Client: k.net.Client()}, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(k.build.AccessKeyID, k.build.SecretAccessKey, "")})
	text := func(action string) *string {
		return aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"*"}}`)
	}
	made := must[*iam.CreatePolicyOutput](t)(admin.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("p"), Path: aws.String("/x/"), PolicyDocument: text("ec2:DescribeVpcs")}))
	arn := made.Policy.Arn
	_, keys := k.cloud.AddUser(k.build, "ci")
	must[*iam.DetachUserPolicyOutput](t)(admin.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("ci"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}))
	must[*iam.AttachUserPolicyOutput](t)(admin.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("ci"), PolicyArn: arn}))
	ci := k.clientWith(keys, region)
	must[*ec2.DescribeVpcsOutput](t)(ci.DescribeVpcs(ctx, nil))

	add := func(action string, current bool) (string, error) {
		v, err := admin.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: text(action), SetAsDefault: current})
		if err != nil {
			return "", err
		}
		return *v.PolicyVersion.VersionId, nil
	}
	second := must[string](t)(add("ec2:DescribeImages", false))
	_, err := ci.DescribeImages(ctx, nil)
	wantError(t, err, 403, "UnauthorizedOperation", "") // it is there, and does not count
	third := must[string](t)(add("ec2:DescribeSubnets", true))
	must[*ec2.DescribeSubnetsOutput](t)(ci.DescribeSubnets(ctx, nil))
	_, err = ci.DescribeVpcs(ctx, nil)
	wantError(t, err, 403, "UnauthorizedOperation", "")

	got := must[*iam.GetPolicyVersionOutput](t)(admin.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: &second}))
	if read, err := url.QueryUnescape(*got.PolicyVersion.Document); err != nil || read != *text("ec2:DescribeImages") || got.PolicyVersion.IsDefaultVersion {
		t.Errorf("%s: %q, %v", second, read, err)
	}
	must[string](t)(add("ec2:*", false))
	must[string](t)(add("ec2:*", false))
	_, err = add("ec2:*", false)
	wantError(t, err, 409, "LimitExceeded", "up to 5 versions")
	_, err = admin.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: &third})
	wantError(t, err, 409, "DeleteConflict", "default version")
	list := must[*iam.ListPoliciesOutput](t)(admin.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: "Local", PathPrefix: aws.String("/x/")}))
	if len(list.Policies) != 1 || *list.Policies[0].DefaultVersionId != third {
		t.Errorf("policies %+v", list.Policies)
	}
	must[*iam.DetachUserPolicyOutput](t)(admin.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: aws.String("ci"), PolicyArn: arn}))
	_, err = admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	wantError(t, err, 409, "DeleteConflict", "more than one version")
	versions := must[*iam.ListPolicyVersionsOutput](t)(admin.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn}))
	for _, v := range versions.Versions {
		if !v.IsDefaultVersion {
			must[*iam.DeletePolicyVersionOutput](t)(admin.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: v.VersionId}))
		}
	}
	must[*iam.DeletePolicyOutput](t)(admin.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn}))
	if n := len(versions.Versions); n != 5 || strings.Contains(third, "v1") {
		t.Errorf("%d versions, the third is %s", n, third)
	}
}
