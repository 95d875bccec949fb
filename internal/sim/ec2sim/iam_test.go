// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// config is that of the SDK's clients that do not retry.
func (k *kit) config(c ec2sim.Credentials, region string) aws.Config {
	return aws.Config{Region: region, HTTPClient: simnet.Whole{Client: k.net.Client()}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)}
}

// owner is the configuration of the build account's user.
func (k *kit) owner() aws.Config {
	return k.config(ec2sim.Credentials{AccessKeyID: k.build.AccessKeyID, SecretAccessKey: k.build.SecretAccessKey}, region)
}

// A user who may launch only what is tagged, and end only that.
func TestLeastPrivilege(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	const policy = `{"Version":"2012-10-17","Statement":[
		{"Sid":"See","Effect":"Allow","Action":["ec2:DescribeInstances","ec2:DescribeVolumes"],"Resource":"*"},
		{"Sid":"From","Effect":"Allow","Action":"ec2:RunInstances","Resource":["arn:aws:ec2:*::image/*","arn:aws:ec2:*:*:subnet/*","arn:aws:ec2:*:*:security-group/*","arn:aws:ec2:*:*:network-interface/*"]},
		{"Sid":"Launch","Effect":"Allow","Action":"ec2:RunInstances","Resource":["arn:aws:ec2:*:*:instance/*","arn:aws:ec2:*:*:volume/*"],
			"Condition":{"Null":{"aws:RequestTag/armfree:build":"false"}}},
		{"Sid":"Tag","Effect":"Allow","Action":"ec2:CreateTags","Resource":"*","Condition":{"StringEquals":{"ec2:CreateAction":["RunInstances"]}}},
		{"Sid":"End","Effect":"Allow","Action":"ec2:TerminateInstances","Resource":"*","Condition":{"StringLike":{"aws:ResourceTag/armfree:build":"*"}}},
		{"Sid":"Small","Effect":"Deny","Action":"ec2:RunInstances","Resource":"arn:aws:ec2:*:*:instance/*","Condition":{"StringNotLike":{"ec2:InstanceType":"t4g.*"}}}]}`
	_, keys, err := k.cloud.AddUserWithPolicy(k.build, "ci", policy)
	if err != nil {
		t.Fatal(err)
	}
	client := k.clientWith(keys, region)
	tag := func(kinds ...types.ResourceType) (specs []types.TagSpecification) {
		for _, kind := range kinds {
			specs = append(specs, types.TagSpecification{ResourceType: kind, Tags: []types.Tag{{Key: aws.String("armfree:build"), Value: aws.String("1")}}})
		}
		return specs
	}
	launch := func(kinds ...types.ResourceType) *ec2.RunInstancesInput {
		return k.launch(func(in *ec2.RunInstancesInput) { in.TagSpecifications = tag(kinds...) })
	}
	_, err = client.RunInstances(ctx, launch("instance"))
	wantError(t, err, 403, "UnauthorizedOperation", "volume/* because no identity-based policy allows the ec2:RunInstances action. Encoded authorization failure message: ")
	big := launch("instance", "volume")
	big.InstanceType = types.InstanceTypeC7gMedium
	_, err = client.RunInstances(ctx, big)
	wantError(t, err, 403, "UnauthorizedOperation", "with an explicit deny in an identity-based policy")

	_, message, _ := strings.Cut(err.Error(), "failure message: ")
	decoded := must[*sts.DecodeAuthorizationMessageOutput](t)(sts.NewFromConfig(k.owner()).DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message}))
	var said struct {
		Allowed, ExplicitDeny bool
		Context               struct{ Action, Resource string }
	}
	if err := json.Unmarshal([]byte(*decoded.DecodedMessage), &said); err != nil || said.Allowed || !said.ExplicitDeny || said.Context.Action != "ec2:RunInstances" {
		t.Errorf("decoded %s: %v", *decoded.DecodedMessage, err)
	}
	_, err = sts.NewFromConfig(k.owner()).DecodeAuthorizationMessage(ctx, &sts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("nonsense")})
	wantError(t, err, 400, "InvalidAuthorizationMessageException", "")

	if refused := k.cloud.IAMRefusals(k.build, "ci"); len(refused) != 2 {
		t.Errorf("refusals: %+v", refused)
	}
	i := must[*ec2.RunInstancesOutput](t)(client.RunInstances(ctx, launch("instance", "volume"))).Instances[0]
	if unused := k.cloud.UnusedGrants(k.build, "ci"); len(unused) != 3 {
		t.Errorf("unused: %v", unused)
	}
	other := k.launched(nil)
	_, err = client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*other.InstanceId}})
	wantError(t, err, 403, "UnauthorizedOperation", "ec2:TerminateInstances")
	k.reaches(client, *i.InstanceId, types.InstanceStateNameRunning)
	must[*ec2.TerminateInstancesOutput](t)(client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	if unused := k.cloud.UnusedGrants(k.build, "ci"); len(unused) != 1 || unused[0].String() != "ci See ec2:DescribeVolumes" {
		t.Errorf("unused: %v", unused)
	}
}

// What a script does that prepares an account, and its undo.
func TestBootstrap(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	c := iam.NewFromConfig(k.owner())
	name, inline := aws.String("packer-graviton"), aws.String("inline")
	_, err := c.GetUser(ctx, &iam.GetUserInput{UserName: name})
	wantError(t, err, 404, "NoSuchEntity", "The user with name packer-graviton cannot be found.")
	made := must[*iam.CreateUserOutput](t)(c.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Tags: []iamtypes.Tag{{Key: aws.String("for"), Value: aws.String("ci")}}}))
	if *made.User.Arn != "arn:aws:iam::"+k.build.ID+":user/packer-graviton" || len(made.User.Tags) != 1 || !strings.HasPrefix(*made.User.UserId, "AIDA") {
		t.Errorf("made %+v", made.User)
	}
	_, err = c.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	wantError(t, err, 409, "EntityAlreadyExists", "already exists")
	_, err = c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("a b")})
	wantError(t, err, 400, "ValidationError", "")

	document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}`
	must[*iam.PutUserPolicyOutput](t)(c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: inline, PolicyDocument: &document}))
	_, err = c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: inline, PolicyDocument: aws.String("{}")})
	wantError(t, err, 400, "MalformedPolicyDocument", "")
	long := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":["*"` + strings.Repeat(`, "arn:aws:ec2:*:*:instance/*"`, 80) + `]}]}`
	_, err = c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: inline, PolicyDocument: &long})
	wantError(t, err, 409, "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user packer-graviton")
	got := must[*iam.GetUserPolicyOutput](t)(c.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: name, PolicyName: inline}))
	if plain, err := url.QueryUnescape(*got.PolicyDocument); err != nil || plain != document {
		t.Errorf("the policy is %q, %v", plain, err)
	}
	if list := must[*iam.ListUserPoliciesOutput](t)(c.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: name})); len(list.PolicyNames) != 1 {
		t.Errorf("policies: %q", list.PolicyNames)
	}

	if left := k.left(); len(left) != 1 || left[0] != "user packer-graviton of account build" {
		t.Errorf("left: %q", left)
	}
	if err := k.cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: "CreateAccessKey", Delay: ec2sim.Duration(100 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	key := must[*iam.CreateAccessKeyOutput](t)(c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})).AccessKey
	user := k.config(ec2sim.Credentials{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey}, region)
	_, err = ec2.NewFromConfig(user).DescribeInstances(ctx, nil)
	wantError(t, err, 401, "AuthFailure", "") // keys are not known everywhere at once
	eventually(t, "the key is known", func() bool {
		_, err := ec2.NewFromConfig(user).DescribeInstances(ctx, nil)
		return err == nil
	})
	_, err = ec2.NewFromConfig(user).CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("k")})
	wantError(t, err, 403, "UnauthorizedOperation", "user/packer-graviton is not authorized to perform: ec2:CreateKeyPair on resource: arn:aws:ec2:us-east-1:"+k.build.ID+":key-pair/")
	_, err = iam.NewFromConfig(user).CreateAccessKey(ctx, &iam.CreateAccessKeyInput{})
	wantError(t, err, 403, "AccessDenied", "iam:CreateAccessKey on resource")
	must[*iam.CreateAccessKeyOutput](t)(c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name}))
	_, err = c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	wantError(t, err, 409, "LimitExceeded", "AccessKeysPerUser: 2")

	_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	wantError(t, err, 409, "DeleteConflict", "must delete access keys first")
	keys := must[*iam.ListAccessKeysOutput](t)(c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: name}))
	for _, x := range keys.AccessKeyMetadata {
		must[*iam.DeleteAccessKeyOutput](t)(c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: x.AccessKeyId}))
	}
	_, err = ec2.NewFromConfig(user).DescribeInstances(ctx, nil)
	wantError(t, err, 401, "AuthFailure", "")
	_, err = c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name})
	wantError(t, err, 409, "DeleteConflict", "must delete policies first")
	must[*iam.DeleteUserPolicyOutput](t)(c.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: inline}))
	must[*iam.DeleteUserOutput](t)(c.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name}))
	if left := k.left(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// Roles, the profile of a machine, and managed policies.
func TestRolesAndProfiles(t *testing.T) {
	var inside atomic.Value // what answers 169.254.169.254 in the newest machine
	k := newKit(t, func(c *ec2sim.Config) {
		c.Driver = &machine.Fast{Behave: func(s machine.Spec) machine.Behaviour {
			inside.Store(s.Metadata)
			return machine.Behaviour{}
		}}
	})
	ctx := t.Context()
	c := iam.NewFromConfig(k.owner())
	name := aws.String("builder")
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	role := must[*iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: &trust})).Role
	must[*iam.CreateInstanceProfileOutput](t)(c.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name}))
	_, err := k.client.RunInstances(ctx, k.launch(func(in *ec2.RunInstancesInput) {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: name}
	}))
	wantError(t, err, 400, "InvalidParameterValue", "has no associated IAM Roles")
	must[*iam.AddRoleToInstanceProfileOutput](t)(c.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: name}))
	policy := must[*iam.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: name,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeRegions","Resource":"*"}]}`)})).Policy
	must[*iam.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: policy.Arn}))
	got := must[*iam.GetInstanceProfileOutput](t)(c.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: name})).InstanceProfile
	if len(got.Roles) != 1 || *got.Roles[0].Arn != *role.Arn {
		t.Errorf("profile %+v", got)
	}

	// A machine has the role's credentials.
	i := k.launched(func(in *ec2.RunInstancesInput) {
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Arn: got.Arn}
	})
	said := httptest.NewRecorder()
	inside.Load().(http.Handler).ServeHTTP(said, httptest.NewRequest(http.MethodGet, "/latest/meta-data/iam/security-credentials/builder", nil))
	text := said.Body.String()
	var has struct{ Code, AccessKeyId, SecretAccessKey, Token string }
	if err := json.Unmarshal([]byte(text), &has); err != nil || has.Code != "Success" {
		t.Fatalf("%q: %v", text, err)
	}
	itself := k.config(ec2sim.Credentials{AccessKeyID: has.AccessKeyId, SecretAccessKey: has.SecretAccessKey, SessionToken: has.Token}, region)
	who := must[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(itself).GetCallerIdentity(ctx, nil))
	if *who.Arn != "arn:aws:sts::"+k.build.ID+":assumed-role/builder/"+*i.InstanceId {
		t.Errorf("the machine is %s", *who.Arn)
	}
	must[*ec2.DescribeRegionsOutput](t)(ec2.NewFromConfig(itself).DescribeRegions(ctx, nil))
	_, err = ec2.NewFromConfig(itself).DescribeInstances(ctx, nil)
	wantError(t, err, 403, "UnauthorizedOperation", "assumed-role/builder/")

	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	wantError(t, err, 409, "DeleteConflict", "instance profile")
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: policy.Arn})
	wantError(t, err, 409, "DeleteConflict", "attached to entities")
	must[*iam.RemoveRoleFromInstanceProfileOutput](t)(c.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: name}))
	must[*iam.DeleteInstanceProfileOutput](t)(c.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name}))
	must[*iam.DetachRolePolicyOutput](t)(c.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: policy.Arn}))
	must[*iam.DeletePolicyOutput](t)(c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: policy.Arn}))
	must[*iam.DeleteRoleOutput](t)(c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}))

	// The first spot instance of an account needs a role of the service's own.
	_, keys, err := k.cloud.AddUserWithPolicy(k.build, "ci", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	spot := k.launch(func(in *ec2.RunInstancesInput) {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	})
	_, err = k.clientWith(keys, region).RunInstances(ctx, spot)
	wantError(t, err, 403, "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "")
	linked := must[*iam.CreateServiceLinkedRoleOutput](t)(c.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("spot.amazonaws.com")}))
	if *linked.Role.RoleName != "AWSServiceRoleForEC2Spot" {
		t.Errorf("linked role %+v", linked.Role)
	}
	_, err = c.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("spot.amazonaws.com")})
	wantError(t, err, 400, "InvalidInput", "has been taken in this account")
	must[*ec2.RunInstancesOutput](t)(k.clientWith(keys, region).RunInstances(ctx, spot))
}
