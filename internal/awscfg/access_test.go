// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awscfg

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
)

// home gives the environment a home with AWS's files, and nothing else of AWS's.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ACTIONS_") {
			t.Setenv(name, "")
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	idA, secretA = "AKIAAAAAAAAAAAAAAAAA", "secret-of-the-template"
	idB, secretB = "AKIABBBBBBBBBBBBBBBB", "secret-of-the-environment"
	role         = "arn:aws:iam::123456789012:role/packer"
)

// files are those of somebody's daily work.
func files() map[string]string {
	return map[string]string{
		".aws/config": "\ufeff# comment\n[default]\nregion = eu-west-1\n\n[profile work]\nREGION=eu-west-2\ns3 =\n  region = nested\n[sso-session x]\nregion = eu-west-3\n" +
			"[profile 'two words']\nregion = eu-north-1\n[services y]\n[plain]\nregion=sa-east-1\n",
		".aws/credentials": "[default]\naws_access_key_id = X\n[only-keys]\naws_access_key_id=Y\nregion = us-west-1\n[broken\n",
		"other":            "[profile there]\nregion = ap-south-1\n[also]\n",
		"token":            "a.b.c",
	}
}

func TestWhoSignsIn(t *testing.T) {
	environment := map[string]string{"AWS_ACCESS_KEY_ID": idB, "AWS_SECRET_ACCESS_KEY": secretB, "AWS_SESSION_TOKEN": "session"}
	for _, tt := range []struct {
		name   string
		a      Access
		env    map[string]string
		want   ec2.Credentials
		region string
	}{
		{
			name: "keys of the template", a: Access{AccessKey: idA, SecretKey: secretA, Region: "us-east-1"}, env: environment,
			want: ec2.Credentials{AccessKey: idA, SecretKey: secretA, From: "access_key"}, region: "us-east-1",
		},
		{
			name: "keys before a profile", a: Access{AccessKey: idA, SecretKey: secretA, Token: "t", Profile: "work"},
			want: ec2.Credentials{AccessKey: idA, SecretKey: secretA, Token: "t", From: "access_key"}, region: "eu-west-2",
		},
		{
			name: "a profile before the environment", a: Access{Profile: "work"}, env: environment,
			want: ec2.Credentials{Profile: "work", From: "profile"}, region: "eu-west-2",
		},
		{
			name: "a name with a blank", a: Access{Profile: "two words"}, want: ec2.Credentials{Profile: "two words", From: "profile"}, region: "eu-north-1",
		},
		{
			name: "the region of the environment before that of a profile", a: Access{Profile: "only-keys"}, env: map[string]string{"AWS_DEFAULT_REGION": "ca-central-1"},
			want: ec2.Credentials{Profile: "only-keys", From: "profile"}, region: "ca-central-1",
		},
		{
			name: "AWS_REGION before AWS_DEFAULT_REGION", env: map[string]string{"AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "x"},
			want: ec2.Credentials{From: `the profile "default"`}, region: "us-east-2",
		},
		{
			name: "keys of the environment", env: environment,
			want: ec2.Credentials{AccessKey: idB, SecretKey: secretB, Token: "session", From: "the environment variable AWS_ACCESS_KEY_ID"}, region: "eu-west-1",
		},
		{
			name: "keys of the environment before its profile", env: map[string]string{"AWS_ACCESS_KEY": idB, "AWS_SECRET_KEY": secretB, "AWS_PROFILE": "plain"},
			want: ec2.Credentials{AccessKey: idB, SecretKey: secretB, From: "the environment variable AWS_ACCESS_KEY_ID"}, region: "sa-east-1",
		},
		{
			name: "the profile of the environment", env: map[string]string{"AWS_PROFILE": "only-keys"},
			want: ec2.Credentials{From: "the environment variable AWS_PROFILE"}, region: "us-west-1",
		},
		{name: "nobody says", want: ec2.Credentials{From: `the profile "default"`}, region: "eu-west-1"},
		{
			name: "a web identity of the environment", env: map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "~/token", "AWS_ROLE_ARN": role, "AWS_ROLE_SESSION_NAME": "pod"},
			want: ec2.Credentials{From: "the environment variable AWS_WEB_IDENTITY_TOKEN_FILE", WebIdentity: &ec2.WebIdentity{
				RoleARN: role, SessionName: "pod", TokenFile: "token", Audience: "sts.amazonaws.com",
			}}, region: "eu-west-1",
		},
		{
			name: "GitHub's token", a: Access{WebIdentity: []WebIdentity{{RoleARN: role, DurationSeconds: 3600}}},
			env: map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://github.example/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request", "AWS_ACCESS_KEY_ID": idB, "AWS_SECRET_ACCESS_KEY": secretB},
			want: ec2.Credentials{From: "assume_role_with_web_identity", WebIdentity: &ec2.WebIdentity{
				RoleARN: role, DurationSeconds: 3600, RequestURL: "https://github.example/token", RequestToken: "request", Audience: "sts.amazonaws.com",
			}}, region: "eu-west-1",
		},
		{
			name: "a chain of roles", a: Access{AccessKey: idA, SecretKey: secretA, AssumeRole: []AssumeRole{{RoleARN: role, ExternalID: "e"}, {RoleARN: role + "2", Tags: map[string]string{"a": "b"}}}},
			want: ec2.Credentials{AccessKey: idA, SecretKey: secretA, From: "access_key", Roles: []ec2.Role{{ARN: role, ExternalID: "e"}, {ARN: role + "2", Tags: map[string]string{"a": "b"}}}}, region: "eu-west-1",
		},
		{
			name: "a role whose variables are not set", a: Access{AccessKey: idA, SecretKey: secretA, AssumeRole: []AssumeRole{{}}},
			want: ec2.Credentials{AccessKey: idA, SecretKey: secretA, From: "access_key"}, region: "eu-west-1",
		},
		{
			name: "another file", a: Access{SharedCredentialsFile: "~/other", Profile: "there"},
			want: ec2.Credentials{Profile: "there", SharedFile: "other", From: "profile"}, region: "ap-south-1",
		},
		{
			name: "the machine is not asked", env: map[string]string{"AWS_EC2_METADATA_DISABLED": "TRUE"},
			want: ec2.Credentials{From: `the profile "default"`, NoIMDS: true}, region: "eu-west-1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := home(t, files())
			for k, v := range tt.env {
				t.Setenv(k, strings.ReplaceAll(v, "~", dir))
			}
			tt.a.SharedCredentialsFile = strings.ReplaceAll(tt.a.SharedCredentialsFile, "~", dir)
			got, warnings, errs := tt.a.Prepare("")
			if len(errs)+len(warnings) > 0 {
				t.Fatal(warnings, errors.Join(errs...))
			}
			tt.want.Region, tt.want.MaxRetries = tt.region, 10
			if tt.want.SharedFile != "" {
				tt.want.SharedFile = filepath.Join(dir, tt.want.SharedFile)
			}
			if w := tt.want.WebIdentity; w != nil && w.TokenFile != "" {
				w.TokenFile = filepath.Join(dir, w.TokenFile)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if tt.a.Region != tt.region {
				t.Errorf("the option region is %q", tt.a.Region)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		a    Access
		env  map[string]string
		want []string
	}{
		{a: Access{}, want: []string{"aws: region must be set"}},
		{a: Access{Region: "eu-west-1", AccessKey: idA}, want: []string{"aws: secret_key must be set beside aws: access_key"}},
		{a: Access{}, env: map[string]string{"AWS_ACCESS_KEY_ID": "ASIAXXXX", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-west-1"}, want: []string{"the environment variable AWS_ACCESS_KEY_ID begins with ASIA"}},
		{a: Access{}, env: map[string]string{"AWS_ACCESS_KEY_ID": idB, "AWS_REGION": "eu-west-1"}, want: []string{"of the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set"}},
		{a: Access{}, env: map[string]string{"AWS_PROFILE": "nobody", "AWS_REGION": "eu-west-1"}, want: []string{`the environment variable AWS_PROFILE: there is no profile "nobody"`}},
		{a: Access{}, env: map[string]string{"AWS_REGION": "eu-west-1b"}, want: []string{"the environment variable AWS_REGION is \"eu-west-1b\", which is an availability zone"}},
		{a: Access{Region: "eu-west-1", WebIdentity: []WebIdentity{{}}}, want: []string{"aws: assume_role_with_web_identity: role_arn must be set", "aws: assume_role_with_web_identity: there is no token"}},
		{a: Access{Region: "eu-west-1", WebIdentity: []WebIdentity{{RoleARN: role, TokenFile: "/no/such/file"}}}, want: []string{"aws: assume_role_with_web_identity: web_identity_token_file (or"}},
		{a: Access{Region: "eu-west-1", WebIdentity: []WebIdentity{{RoleARN: role, TokenFile: "a", Token: "b"}}}, want: []string{"aws: assume_role_with_web_identity: web_identity_token and web_identity_token_file exclude"}},
		{a: Access{Region: "eu-west-1", WebIdentity: []WebIdentity{{}, {}}}, want: []string{"aws: assume_role_with_web_identity is there twice"}},
		{a: Access{Region: "eu-west-1", AccessKey: idA, SecretKey: "c2Vjc mV0"}, want: []string{"aws: access_key or aws: secret_key has blanks"}},
		{a: Access{Region: "eu-west-1", AccessKey: idA, SecretKey: "x", AssumeRole: []AssumeRole{{RoleARN: role, PolicyARNs: []string{"x"}}}}, want: []string{"aws: assume_role: policy_arns must be ARNs"}},
	} {
		t.Run(tt.want[0], func(t *testing.T) {
			home(t, nil)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			_, _, errs := tt.a.Prepare("aws: ")
			if len(errs) != len(tt.want) {
				t.Fatalf("got %q", errs)
			}
			for i, err := range errs {
				if !strings.HasPrefix(err.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q", err, tt.want[i])
				}
				if strings.Contains(err.Error(), "c2Vjc") {
					t.Error("the message quotes a secret")
				}
			}
		})
	}
}

// `packer validate` does not know what data sources give; a build does.
func TestUnknownValues(t *testing.T) {
	home(t, nil)
	for name, set := range map[string]func(*Access, string){
		"access_key": func(a *Access, v string) { a.AccessKey = v }, "secret_key": func(a *Access, v string) { a.SecretKey = v },
		"token": func(a *Access, v string) { a.Token = v }, "region": func(a *Access, v string) { a.Region = v },
		"profile":                 func(a *Access, v string) { *a = Access{Profile: v} },
		"shared_credentials_file": func(a *Access, v string) { *a = Access{SharedCredentialsFile: v, Profile: "x"} },
		"role_arn": func(a *Access, v string) {
			a.AssumeRole = []AssumeRole{{RoleARN: v, Policy: v, PolicyARNs: []string{v}}}
		},
		"web_identity_token_file": func(a *Access, v string) {
			*a = Access{Region: "eu-west-1", WebIdentity: []WebIdentity{{RoleARN: v, TokenFile: v}}}
		},
	} {
		for _, v := range []string{"<unknown>", "74D93920-ED26-11E3-AC10-0800200C9A66"} {
			a := Access{AccessKey: idA, SecretKey: secretA, Region: "eu-west-1"}
			set(&a, v)
			if _, _, errs := a.Prepare(""); len(errs) > 0 {
				t.Errorf("%s = %s: %q", name, v, errs)
			}
		}
	}
}
