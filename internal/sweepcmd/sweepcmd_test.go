// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweepcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	ec2cfg "github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// What is on this computer must not decide about tests.
func clean(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "OCI_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestMistakes(t *testing.T) {
	clean(t)
	for args, want := range map[string]string{
		"--cloud gcp":                            `there is oci and aws, not "gcp"`,
		"--build x":                              `"x" is not a build's id`,
		"--older-than -1h":                       "--older-than must be a duration",
		"--timeout 0s":                           "--timeout must be a duration",
		"--older-than soon":                      "invalid value",
		"--compartment x":                        "--compartment",
		"--frobnicate":                           "--frobnicate is no option; see --help",
		"everything":                             `"everything" is no option`,
		"--cloud aws":                            "aws: region must be set",
		"--cloud oci --region x":                 "oci: tenancy_ocid must be set",
		"--cloud oci --env-prefix PROD_":         "PROD_OCI_TENANCY_OCID",
		"--cloud gcp --build x --compartment no": "--build",
	} {
		var out, errs bytes.Buffer
		if code := (Command{Out: &out, Err: &errs, Mask: new(mask.Masker)}).Run(t.Context(), strings.Fields(args)); code != Failed {
			t.Errorf("%s: exit code %d", args, code)
		}
		if !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: %q, want %q", args, errs.String(), want)
		}
	}
	var out bytes.Buffer
	if code := (Command{Out: &out, Err: &out, Mask: new(mask.Masker)}).Run(t.Context(), []string{"--help"}); code != Done || !strings.Contains(out.String(), "Exit codes:") {
		t.Errorf("help: %d %s", code, out.String())
	}
}

func TestCode(t *testing.T) {
	thing := sweep.Thing{ID: "x"}
	for name, tt := range map[string]struct {
		looks []look
		want  int
	}{
		"nothing":                  {nil, Done},
		"removed":                  {[]look{{result: sweep.Result{Removed: []sweep.Thing{thing}}}}, Done},
		"left":                     {[]look{{result: sweep.Result{Left: []sweep.Left{{Thing: thing}}}}, {}}, Left},
		"under way":                {[]look{{result: sweep.Result{UnderWay: []sweep.Thing{thing}}}}, Left},
		"may not be looked at":     {[]look{{result: sweep.Result{Blind: []sweep.Blind{{Refused: true}}}}}, Done},
		"cannot be looked at":      {[]look{{result: sweep.Result{Blind: []sweep.Blind{{}}}}}, Failed},
		"a place that is not seen": {[]look{{result: sweep.Result{Left: []sweep.Left{{Thing: thing}}}}, {err: errors.New("no")}}, Failed},
	} {
		if got := code(tt.looks); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// The command against a whole cloud: what it says, in both forms, and its exit code.
func TestCommand(t *testing.T) {
	clean(t)
	s := awsstage.ForTest(t, awsstage.Options{})
	t.Setenv("AWS_ACCESS_KEY_ID", s.Build.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.Build.SecretAccessKey)
	t.Setenv("AWS_REGION", awsstage.Region)
	client := ec2.NewFromConfig(s.Config(awsstage.Region))
	group := func(name string, by owner.Build) string {
		g, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("d"), TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeSecurityGroup, Tags: []types.Tag{{Key: aws.String(owner.Key), Value: aws.String(by.Tag(owner.RoleGroup).String())}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return *g.GroupId
	}
	dead, alive, named := owner.NewBuild(time.Now(), -time.Hour), owner.NewBuild(time.Now(), time.Hour), owner.NewBuild(time.Now(), time.Hour)
	gone, stays, over := group("a", dead), group("b", alive), group("c", named)
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := Command{Out: &out, Err: &errs, Mask: new(mask.Masker), HTTP: s.Net.Client()}.Run(t.Context(), args)
		return code, out.String() + errs.String()
	}
	expect := func(wantCode int, code int, text string, parts ...string) {
		t.Helper()
		if code != wantCode {
			t.Errorf("exit code %d, want %d: %s", code, wantCode, text)
		}
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("%q is not in: %s", p, text)
			}
		}
	}
	code, text := run("--dry-run")
	expect(Done, code, text, "aws us-east-1: would remove security group a ("+gone+"), of build "+dead.ID, "1 would remove, 0 left, 2 of this plugin kept")
	if err := s.Cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "DeleteSecurityGroup", Status: 400, Code: "OperationNotPermitted", Message: "no", Times: 1}); err != nil {
		t.Fatal(err)
	}
	code, text = run()
	expect(Left, code, text, "left security group a ("+gone+"), of build "+dead.ID+": delete security group "+gone, "OperationNotPermitted")
	code, text = run("--json")
	var r report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if code != Done || len(r.Places) != 1 || len(r.Places[0].Removed) != 1 || r.Places[0].Removed[0].ID != gone || r.Places[0].Removed[0].Build != dead.ID ||
		len(r.Places[0].Kept) != 2 || r.Places[0].Time == nil || r.DryRun {
		t.Errorf("%d %s", code, text)
	}
	code, text = run("--build", named.ID)
	expect(Done, code, text, "removed security group c ("+over+")", "1 of this plugin kept")
	if left := s.Cloud.Left(stays); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	code, text = run("--region", "us-east-1,eu-west-1", "--older-than", "1ns", "--json")
	if r = (report{}); json.Unmarshal([]byte(text), &r) != nil || len(r.Places) != 2 || code != Done {
		t.Errorf("%d %s", code, text)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", strings.Repeat("x", 40))
	code, text = run()
	expect(Failed, code, text, "sweep: aws: ")
}

// Whatever signs in to AWS is told to the masker before anything is said.
func TestSecretsOfAWSAreMasked(t *testing.T) {
	clean(t)
	var m mask.Masker
	o := &options{aws: &ec2cfg.Credentials{
		SecretKey: "the secret key", Token: "the session token", WebIdentity: &ec2cfg.WebIdentity{RoleARN: "no role", Token: "the identity", RequestToken: "the request token"},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = Command{Mask: &m}.clouds(ctx, o) // nobody signs in
	for _, s := range []string{"the secret key", "the session token", "the identity", "the request token"} {
		if m.Text(s) == s {
			t.Errorf("%q is not masked", s)
		}
	}
}
