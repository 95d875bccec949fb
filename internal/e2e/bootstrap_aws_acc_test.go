// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/oidc"
)

// The script of the bootstrap, run unmodified with the AWS CLI against a simulated
// account: it plans without changing anything, applies once, and undoes all of it;
// in between a build succeeds with exactly the secrets that it wrote.
func TestAccBootstrapAWS(t *testing.T) {
	alone(t)
	s := bootstrapStage(t)
	secrets := filepath.Join(t.TempDir(), "secrets")

	said := s.script("plan", "--secrets", secrets)
	s.wants(said, "would make the user packer-graviton", "would write the inline policy packer-graviton-inline", "would attach the policy packer-graviton-security-group",
		"would make an access key, and write it to "+secrets, "would make the key pair packer-graviton-key", "AWS_SECRET_ACCESS_KEY  secret", "AWS_REGION             us-east-1")
	if _, err := os.Stat(secrets); err == nil {
		t.Error("a plan wrote secrets")
	}
	s.changed("a plan", 0)

	first := s.script("apply", "--secrets", secrets)
	s.wants(first, "done: make the user packer-graviton", "done: make an access key; it is in "+secrets)
	if info, err := os.Stat(secrets); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secrets: %v, %v", info, err)
	}
	s.changed("an apply", 8) // user, inline policy, two policies, both attached, access key, key pair
	again := s.script("apply", "--secrets", secrets+"-2")
	s.wants(again, "nothing to do")
	if _, err := os.Stat(secrets + "-2"); err == nil {
		t.Error("secrets were written twice")
	}
	s.changed("a second apply", 0)

	env := sourced(t, secrets)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SSH_KEYPAIR_NAME", "AWS_SSH_PRIVATE_KEY"} {
		if len(env[name]) < 10 {
			t.Errorf("%s is %d characters", name, len(env[name]))
		}
	}
	for _, hidden := range []string{env["AWS_SECRET_ACCESS_KEY"], env["AWS_SSH_PRIVATE_KEY"], "PRIVATE KEY", env["AWS_ACCESS_KEY_ID"]} {
		if strings.Contains(first+again, hidden) {
			t.Errorf("a secret was printed")
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_REGION", awsstage.Region)
	t.Setenv("AWS_SOURCE_AMI", "resolve:ssm:/aws/service/debian/release/12/latest/arm64") // as the list says
	t.Setenv("AWS_SSH_USERNAME", "admin")
	signed := set{"access_key": nil, "secret_key": nil, "region": nil, "source_ami": nil, "ssh_username": nil}
	with := func(options set) set {
		for k, v := range signed {
			options[k] = v
		}
		return options
	}
	s.build("a build with the secrets", with(set{"ami_name": "by CI"}))

	// The script fills in the policies as the tests of the policies do.
	_, others := features()
	all := strings.Join(others, ",")
	if said, err := s.try("policies", "--with", all, "--export-bucket", ciExports); err == nil || !strings.Contains(said, "IAM allows ten") {
		t.Errorf("eleven policies: %v %s", err, said)
	}
	if said, err := s.try("policies", "--with", "export-image"); err == nil || !strings.Contains(said, "needs --export-bucket") {
		t.Errorf("no bucket: %v %s", err, said)
	}
	printed := s.script("policies", "--with", all, "--without", "security-group", "--export-bucket", ciExports) + s.script("policies")
	for _, f := range append([]string{"build"}, append([]string{"image", "security-group"}, others...)...) {
		if !strings.Contains(printed, policyFile(t, s.Stage, f)) {
			t.Errorf("the script fills in %s otherwise than the tests of the policies", f)
		}
	}
	s.clear()
	s.wants(s.script("apply", "--with", "ssm,spot,export-image", "--export-bucket", ciExports), "done: make the account's role for spot machines", "done: put the role into it",
		"done: let it write into the bucket "+ciExports, `role_name = "packer-graviton-export"`)
	s.changed("three features", 8+4+1+2) // four policies, made and attached; role, its policy, profile, the role in it; the spot role; the exporter's role and its policy
	s.wants(s.script("apply", "--with", "ssm,spot,export-image", "--export-bucket", ciExports), "nothing to do")
	s.changed("the same", 0)
	s.build("a spot build with the secrets", with(set{"ami_name": "by spot", "spot_price": "auto", "instance_type": "t4g.micro", "iam_instance_profile": graviton + "-machine"}))

	// Features that are no longer wanted go, another key comes when asked for, and
	// a policy that somebody changed is put right by a new version.
	arn := aws.String("arn:aws:iam::" + s.Build.ID + ":policy/armfree/" + graviton + "/" + graviton + "-image")
	_, err := s.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: arn, SetAsDefault: true,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)})
	s.must(err)
	s.clear()
	s.wants(s.script("apply", "--with", "ssm", "--types", "t4g.micro", "--new-key-pair", "--secrets", secrets+"-3"),
		"done: write the inline policy", "done: remove the policy packer-graviton-spot", "done: make the key pair",
		"done: remove the old version v1 of packer-graviton-image", "done: change the policy packer-graviton-image")
	s.changed("a change", 1+6+2+2+2) // inline policy; three policies detached and removed; the exporter's policy and role; the key pair; the version
	if key := sourced(t, secrets+"-3")["AWS_SSH_PRIVATE_KEY"]; key == "" || key == env["AWS_SSH_PRIVATE_KEY"] {
		t.Error("the key pair is not a new one")
	}

	s.wants(s.script("undo", "--dry-run"), "would remove the access key", "would remove the user packer-graviton", "would remove the key pair")
	s.changed("a dry run", 0)
	s.wants(s.script("undo"), "done: remove the user packer-graviton")
	s.nothing()
	s.wants(s.script("undo"), "nothing to do")
}

// With --github there is a role for the jobs of a repository, and no key.
func TestAccBootstrapGitHub(t *testing.T) {
	alone(t)
	s := bootstrapStage(t)
	issuer, err := oidc.NewIssuer("repo:octo/images:ref:refs/heads/main")
	s.must(err)
	s.Cloud.AddIssuer(issuer)
	s.script("apply", "--github", "octo/images", "--no-key-pair")
	s.clear()
	said := s.script("apply", "--github", "octo/images", "--no-key-pair")
	role := "arn:aws:iam::" + s.Build.ID + ":role/" + graviton
	s.wants(said, "nothing to do", "AWS_ROLE_ARN           "+role)
	if strings.Contains(said, "AWS_ACCESS_KEY_ID") {
		t.Errorf("a key:\n%s", said)
	}
	s.changed("a second apply", 0)
	token := func() set {
		return set{"access_key": nil, "secret_key": nil, "ami_name": "by a job", "assume_role_with_web_identity": set{"role_arn": role, "web_identity_token": issuer.Token("sts.amazonaws.com")}}
	}
	if a, said, err := s.run(token()); err != nil || a == nil {
		t.Errorf("a build of a job: %v\n%s", err, said)
	}
	for _, u := range s.Cloud.IAMRefusals(s.Build, graviton) {
		t.Errorf("refused: %+v", u)
	}
	issuer.Subject = "repo:octo/images:ref:refs/heads/attack"
	if _, said, err := s.run(token()); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("a build of another branch: %v\n%s", err, said)
	}
	s.script("undo")
	s.nothing()
}

// The script touches nothing that it did not make, and refuses what it does not
// understand before it does anything.
func TestAccBootstrapRefuses(t *testing.T) {
	alone(t)
	s := bootstrapStage(t)
	_, err := s.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("somebody")})
	s.must(err)
	file := filepath.Join(t.TempDir(), "secrets")
	s.must(os.WriteFile(file, []byte("mine\n"), 0o600))
	s.clear()
	for _, tt := range []struct {
		says string
		args []string
	}{
		{"the user somebody exists, and was not made by this script", []string{"apply", "--name", "somebody"}},
		{"the user somebody exists, and was not made by this script", []string{"undo", "--name", "somebody"}},
		{"there is no feature sport", []string{"plan", "--with", "sport"}},
		{"there is no option --nonsense", []string{"plan", "--nonsense", "x"}},
		{"--name: ", []string{"plan", "--name", "a|b"}},
		{"without the feature image", []string{"plan", "--without", "image"}},
		{"a user's may have 2048", []string{"plan", "--regions", strings.Repeat("ap-southeast-1,", 40) + "us-east-1"}},
	} {
		if said, err := s.try(tt.args...); err == nil || !strings.Contains(said, tt.says) {
			t.Errorf("%q: %v\n%s", tt.args, err, said)
		}
	}
	s.changed("refusals", 0)
	if said, err := s.try("apply", "--secrets", file); err == nil || !strings.Contains(said, "exists or cannot be made; nothing secret was made") {
		t.Errorf("%v\n%s", err, said)
	}
	if text, _ := os.ReadFile(file); string(text) != "mine\n" {
		t.Errorf("the file has now: %q", text)
	}
	s.script("undo")
	_, err = s.iam.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("somebody")})
	s.must(err)
	s.nothing()
}

// scripted is an account that the script works on.
type scripted struct {
	*ci
	env  []string
	seen int // requests of the log
}

// bootstrapStage is an account in which nobody builds yet. It skips the test
// where there is no AWS CLI 2.
func bootstrapStage(t *testing.T) *scripted {
	t.Helper()
	cli := "/usr/bin/aws" // Debian's
	if _, err := os.Stat(cli); err != nil {
		if cli, err = exec.LookPath("aws"); err != nil {
			t.Skip("the AWS CLI is not installed (Debian's package awscli)")
		}
	}
	withoutAWS(t)
	st := awsstage.ForTest(t, awsstage.Options{})
	bin := t.TempDir()
	if err := os.Symlink(cli, filepath.Join(bin, "aws")); err != nil {
		t.Fatal(err)
	}
	c := &ci{Stage: st, t: t, iam: iam.NewFromConfig(st.Config(awsstage.Region)), ec2: ec2.NewFromConfig(st.Config(awsstage.Region))}
	env := append(st.Env(), "PATH="+bin+":/usr/bin:/bin", "HOME="+t.TempDir(), "TMPDIR="+t.TempDir())
	return &scripted{ci: c, env: env}
}

// try runs the script, and returns what it says.
func (s *scripted) try(args ...string) (string, error) {
	s.t.Helper()
	args = append([]string{filepath.Join(bootstrapAWS, "bootstrap.sh")}, args...)
	if !slices.Contains(args, "--regions") {
		args = append(args, "--regions", awsstage.Region+","+gravitonOther)
	}
	cmd := exec.CommandContext(s.t.Context(), "/bin/sh", args...)
	cmd.Env = s.env
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// script runs the script, which must succeed.
func (s *scripted) script(args ...string) string {
	s.t.Helper()
	said, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%q: %v\n%s", args, err, said)
	}
	return said
}

func (s *scripted) wants(said string, parts ...string) {
	s.t.Helper()
	for _, p := range parts {
		if !strings.Contains(said, p) {
			s.t.Errorf("%q is not in:\n%s", p, said)
		}
	}
}

// clear forgets the requests so far.
func (s *scripted) clear() { s.seen = len(s.Cloud.Requests()) }

// changed counts the requests since the last look that changed something.
func (s *scripted) changed(what string, want int) {
	s.t.Helper()
	var ops []string
	all := s.Cloud.Requests()
	for _, r := range all[s.seen:] {
		reads := slices.ContainsFunc([]string{"Get", "List", "Describe"}, func(p string) bool { return strings.HasPrefix(r.Op, p) })
		if !reads || r.Status >= 400 && r.Status != 404 && r.Code != "InvalidKeyPair.NotFound" {
			ops = append(ops, fmt.Sprintf("%s %d %s", r.Op, r.Status, r.Code))
		}
	}
	s.seen = len(all)
	if len(ops) != want {
		s.t.Errorf("%s made %d changes, want %d: %q", what, len(ops), want, ops)
	}
}

// nothing sees that nothing of the script is left.
func (s *scripted) nothing() {
	s.t.Helper()
	ctx := s.t.Context()
	users, err := s.iam.ListUsers(ctx, nil)
	s.must(err)
	policies, err := s.iam.ListPolicies(ctx, &iam.ListPoliciesInput{Scope: "Local"})
	s.must(err)
	providers, err := s.iam.ListOpenIDConnectProviders(ctx, nil)
	s.must(err)
	if len(users.Users) != 1 || len(policies.Policies) > 0 || len(providers.OpenIDConnectProviderList) > 0 {
		s.t.Errorf("left: %v, %v, %v", users.Users, policies.Policies, providers.OpenIDConnectProviderList)
	}
	for _, name := range []string{graviton, graviton + "-machine"} {
		if _, err := s.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name}); err == nil || !strings.Contains(err.Error(), "NoSuchEntity") {
			s.t.Errorf("the role %s: %v", name, err)
		}
		if _, err := s.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name}); err == nil || !strings.Contains(err.Error(), "NoSuchEntity") {
			s.t.Errorf("the instance profile %s: %v", name, err)
		}
	}
	for _, left := range s.Left() {
		if !strings.HasPrefix(left, "image") && !strings.HasPrefix(left, "snapshot") {
			s.t.Errorf("left: %s", left)
		}
	}
}

// sourced are the variables of a file of secrets, as a shell reads them.
func sourced(t *testing.T, file string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `set -a; . "$1"; env -0`, "sh", file)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for pair := range strings.SplitSeq(string(out), "\x00") {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			all[name] = value
		}
	}
	return all
}
