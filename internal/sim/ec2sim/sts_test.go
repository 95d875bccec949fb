// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/oidc"
)

func session(c *ststypes.Credentials) ec2sim.Credentials {
	return ec2sim.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}

// makeRole makes a role with a trust policy of one statement, which may do
// what a policy of one statement says.
func (k *kit) makeRole(cfg aws.Config, name, trust, may string) string {
	k.t.Helper()
	wrap := func(text string) *string { return aws.String(`{"Version":"2012-10-17","Statement":[` + text + `]}`) }
	c := iam.NewFromConfig(cfg)
	role := must[*iam.CreateRoleOutput](k.t)(c.CreateRole(k.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: wrap(trust)}))
	must[*iam.PutRolePolicyOutput](k.t)(c.PutRolePolicy(k.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("may"), PolicyDocument: wrap(may)}))
	return *role.Role.Arn
}

func TestAssumeRole(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	const seeAll = `{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}`
	role := k.makeRole(k.owner(), "builder", `{"Effect":"Allow","Principal":{"AWS":["`+k.build.ID+`","arn:aws:iam::`+k.other.ID+`:root"]},"Action":["sts:AssumeRole","sts:TagSession"],
		"Condition":{"StringEquals":{"sts:ExternalId":"word"}}}`, seeAll)
	_, nobody, err := k.cloud.AddUserWithPolicy(k.build, "nobody", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:*","Resource":"*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("job"), ExternalId: aws.String("word")}
	as := func(c ec2sim.Credentials, change func(*sts.AssumeRoleInput)) (*sts.AssumeRoleOutput, error) {
		copied := *in
		if change != nil {
			change(&copied)
		}
		return sts.NewFromConfig(k.config(c, region)).AssumeRole(ctx, &copied)
	}
	owner := ec2sim.Credentials{AccessKeyID: k.build.AccessKeyID, SecretAccessKey: k.build.SecretAccessKey}
	_, err = as(nobody, nil)
	wantError(t, err, 403, "AccessDenied", "user/nobody is not authorized to perform: sts:AssumeRole on resource: "+role)
	_, err = as(owner, func(in *sts.AssumeRoleInput) { in.ExternalId = nil })
	wantError(t, err, 403, "AccessDenied", "sts:AssumeRole")
	_, err = as(owner, func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(role + "x") })
	wantError(t, err, 403, "AccessDenied", "sts:AssumeRole")
	_, err = as(owner, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7200) })
	wantError(t, err, 400, "ValidationError", "exceeds the MaxSessionDuration")
	_, err = as(owner, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(60) })
	wantError(t, err, 400, "ValidationError", "durationSeconds")
	_, err = as(ec2sim.Credentials{AccessKeyID: k.other.AccessKeyID, SecretAccessKey: k.other.SecretAccessKey}, nil)
	if err != nil {
		t.Errorf("from the other account: %v", err)
	}
	made, err := as(owner, func(in *sts.AssumeRoleInput) {
		in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
		in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeImages","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue"}}}]}`)
	})
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(*made.Credentials.Expiration); life < 55*time.Minute || life > time.Hour || !strings.HasSuffix(*made.AssumedRoleUser.AssumedRoleId, ":job") {
		t.Errorf("made %+v", made)
	}
	job := ec2.NewFromConfig(k.config(session(made.Credentials), region))
	must[*ec2.DescribeImagesOutput](t)(job.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}}))
	_, err = job.DescribeInstances(ctx, nil)
	wantError(t, err, 403, "UnauthorizedOperation", "because no session policy allows the ec2:DescribeInstances action")

	// Sessions of the user's own.
	own := must[*sts.GetSessionTokenOutput](t)(sts.NewFromConfig(k.owner()).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)}))
	mine := k.config(session(own.Credentials), region)
	must[*ec2.DescribeInstancesOutput](t)(ec2.NewFromConfig(mine).DescribeInstances(ctx, nil))
	if who := must[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(mine).GetCallerIdentity(ctx, nil)); !strings.HasSuffix(*who.Arn, ":user/packer") {
		t.Errorf("I am %s", *who.Arn)
	}
	_, err = sts.NewFromConfig(mine).GetSessionToken(ctx, nil)
	wantError(t, err, 403, "AccessDenied", "session credentials")
	_, err = iam.NewFromConfig(mine).ListUsers(ctx, nil)
	wantError(t, err, 403, "InvalidClientTokenId", "")
	over := k.config(k.cloud.IssueSession(k.build, -time.Second), region)
	_, err = sts.NewFromConfig(over).GetCallerIdentity(ctx, nil)
	wantError(t, err, 403, "ExpiredToken", "expired")
	_, err = ec2.NewFromConfig(over).DescribeInstances(ctx, nil)
	wantError(t, err, 400, "RequestExpired", "")
}

// A job of a workflow at GitHub gets in without any stored secret.
func TestWebIdentity(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	issuer, err := oidc.NewIssuer("repo:octo/images:ref:refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	c := iam.NewFromConfig(k.owner())
	arn := "arn:aws:iam::" + k.build.ID + ":oidc-provider/token.actions.githubusercontent.com"
	role := k.makeRole(k.owner(), "github", `{"Effect":"Allow","Principal":{"Federated":"`+arn+`"},"Action":"sts:AssumeRoleWithWebIdentity",
		"Condition":{"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com"},"StringLike":{"token.actions.githubusercontent.com:sub":"repo:octo/images:*"}}}`,
		`{"Effect":"Allow","Action":"ec2:DescribeInstances","Resource":"*"}`)
	unsigned := sts.New(sts.Options{Region: region, HTTPClient: k.net.Client(), Retryer: aws.NopRetryer{}})
	assume := func(token string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		return unsigned.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("job"), WebIdentityToken: &token})
	}
	good := issuer.Token("sts.amazonaws.com")
	_, err = assume(good)
	wantError(t, err, 400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://token.actions.githubusercontent.com")
	made := must[*iam.CreateOpenIDConnectProviderOutput](t)(c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: &issuer.URL, ClientIDList: []string{"sts.amazonaws.com"}, ThumbprintList: []string{strings.Repeat("a1", 20)}}))
	if *made.OpenIDConnectProviderArn != arn {
		t.Errorf("the provider is %s", *made.OpenIDConnectProviderArn)
	}
	got := must[*iam.GetOpenIDConnectProviderOutput](t)(c.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn}))
	if *got.Url != "token.actions.githubusercontent.com" || len(got.ClientIDList) != 1 {
		t.Errorf("the provider is %+v", got)
	}
	_, err = assume(good)
	wantError(t, err, 400, "InvalidIdentityToken", "Couldn't retrieve verification key")
	k.cloud.AddIssuer(issuer)
	out := must[*sts.AssumeRoleWithWebIdentityOutput](t)(assume(good))
	if *out.SubjectFromWebIdentityToken != issuer.Subject || *out.Provider != arn {
		t.Errorf("assumed %+v", out)
	}
	job := ec2.NewFromConfig(k.config(session(out.Credentials), region))
	must[*ec2.DescribeInstancesOutput](t)(job.DescribeInstances(ctx, nil))
	_, err = job.DescribeImages(ctx, nil)
	wantError(t, err, 403, "UnauthorizedOperation", "assumed-role/github/job")

	_, err = assume(issuer.Token("somebody"))
	wantError(t, err, 400, "InvalidIdentityToken", "Incorrect token audience")
	_, err = assume("nonsense")
	wantError(t, err, 400, "InvalidIdentityToken", "not a valid JWT")
	_, err = assume(good[:len(good)-8] + "AAAAAAAA")
	wantError(t, err, 400, "InvalidIdentityToken", "signature is invalid")
	issuer.Life = -time.Second
	_, err = assume(issuer.Token("sts.amazonaws.com"))
	wantError(t, err, 400, "ExpiredTokenException", "")
	issuer.Life, issuer.Subject = 0, "repo:somebody/else:ref:refs/heads/main"
	_, err = assume(issuer.Token("sts.amazonaws.com"))
	wantError(t, err, 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	// What must be signed stays so.
	_, err = sts.New(sts.Options{Region: region, HTTPClient: k.net.Client(), Retryer: aws.NopRetryer{}, Credentials: aws.AnonymousCredentials{}}).GetCallerIdentity(ctx, nil)
	wantError(t, err, 403, "MissingAuthenticationToken", "")
}
