// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// awsCLI is Amazon's command line, version 2, as Debian has it.
type awsCLI struct {
	t    *testing.T
	path string
	env  []string
}

func newCLI(t *testing.T, s *stage.Stage) awsCLI {
	t.Helper()
	path := os.Getenv("AWS_CLI")
	if path == "" {
		path = "/usr/bin/aws" // Debian's
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("there is no %s: it is in Debian's package awscli", path)
	}
	env := append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "AWS_PAGER=", "LC_ALL=C.UTF-8"}, s.Env()...)
	return awsCLI{t, path, env}
}

// try runs a command and returns what it prints, or what it says about its
// failure.
func (c awsCLI) try(args ...string) (out string, failure string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.path, args...)
	cmd.Env = c.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", strings.TrimSpace(stderr.String()) + " (" + err.Error() + ")"
	}
	return strings.TrimSpace(stdout.String()), ""
}

// text runs a command that must succeed; query picks what it returns.
func (c awsCLI) text(query string, args ...string) string {
	c.t.Helper()
	out, failure := c.try(append(args, "--query", query, "--output", "text")...)
	if failure != "" {
		c.t.Fatalf("aws %s: %s", strings.Join(args, " "), failure)
	}
	return out
}

// run is for commands whose answer does not matter.
func (c awsCLI) run(args ...string) {
	c.t.Helper()
	if _, failure := c.try(args...); failure != "" {
		c.t.Fatalf("aws %s: %s", strings.Join(args, " "), failure)
	}
}

// refused is for commands that must fail, with a code.
func (c awsCLI) refused(code string, args ...string) string {
	c.t.Helper()
	out, failure := c.try(args...)
	if !strings.Contains(failure, "("+code+")") {
		c.t.Fatalf("aws %s: %q, %q, want %s", strings.Join(args, " "), out, failure, code)
	}
	return failure
}

// as is the command line with another's credentials.
func (c awsCLI) as(id, secret, token string) awsCLI {
	c.env = append(c.env[:len(c.env):len(c.env)], "AWS_ACCESS_KEY_ID="+id, "AWS_SECRET_ACCESS_KEY="+secret)
	if token != "" {
		c.env = append(c.env, "AWS_SESSION_TOKEN="+token)
	}
	return c
}

func (c awsCLI) want(got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("got %q, want %q", got, want)
	}
}

// until polls, since the command line's own waiters look every 15 seconds.
func (c awsCLI) until(want, query string, args ...string) {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if c.text(query, args...) == want {
			return
		}
	}
	c.t.Fatalf("never %s: aws %s", want, strings.Join(args, " "))
}

const debianParameter = "/aws/service/debian/release/12/latest/arm64"

// The AWS CLI, which its authors wrote for the real service, does with the
// simulated one what a builder of images does by hand.
func TestAccAWSCLI(t *testing.T) {
	acceptance(t)
	s := stage.ForTest(t, stage.Options{})
	aws := newCLI(t, s)
	aws.want(aws.text("Arn", "sts", "get-caller-identity"), "arn:aws:iam::"+s.AWS.Build.ID+":user/packer")
	aws.want(aws.text("Quota.Value", "service-quotas", "get-service-quota", "--service-code", "ec2", "--quota-code", "L-1216C47A"), "32")
	aws.want(aws.text("length(Quotas)", "service-quotas", "list-service-quotas", "--service-code", "ec2"), "2")

	// The image, both ways.
	aws.want(aws.text("Parameters[0].Value", "ssm", "get-parameters", "--names", debianParameter), s.AWS.BaseImage)
	aws.want(aws.text("sort_by(Images,&CreationDate)[-1].ImageId", "ec2", "describe-images", "--owners", "136693071363",
		"--filters", "Name=name,Values=debian-12-arm64-*", "Name=state,Values=available"), s.AWS.BaseImage)
	aws.want(aws.text("length(Parameters)", "ssm", "get-parameters-by-path", "--path", "/aws/service/debian/release/12", "--recursive"), "8")

	launch := []string{"ec2", "run-instances", "--image-id", "resolve:ssm:" + debianParameter, "--instance-type", "t4g.micro",
		"--metadata-options", "HttpTokens=required", "--credit-specification", "CpuCredits=standard",
		"--block-device-mappings", "DeviceName=/dev/xvda,Ebs={VolumeSize=10,VolumeType=gp3,DeleteOnTermination=true}",
		"--tag-specifications", "ResourceType=instance,Tags=[{Key=made,Value=by hand}]", "ResourceType=volume,Tags=[{Key=made,Value=by hand}]"}
	aws.refused("DryRunOperation", append(launch, "--dry-run")...)
	instance := aws.text("Instances[0].InstanceId", launch...)
	aws.until("running", "Reservations[0].Instances[0].State.Name", "ec2", "describe-instances", "--instance-ids", instance)
	aws.run("ec2", "wait", "instance-running", "--instance-ids", instance)
	image := aws.text("ImageId", "ec2", "create-image", "--instance-id", instance, "--name", "by-hand",
		"--tag-specifications", "ResourceType=image,Tags=[{Key=made,Value=by hand}]", "ResourceType=snapshot,Tags=[{Key=made,Value=by hand}]")
	aws.until("available", "Images[0].State", "ec2", "describe-images", "--image-ids", image)
	aws.run("ec2", "wait", "image-available", "--image-ids", image)
	aws.want(aws.text("TerminatingInstances[0].CurrentState.Name", "ec2", "terminate-instances", "--instance-ids", instance), "shutting-down")
	aws.until("terminated", "Reservations[0].Instances[0].State.Name", "ec2", "describe-instances", "--instance-ids", instance)
	aws.run("ec2", "wait", "instance-terminated", "--instance-ids", instance)

	snapshot := aws.text("Images[0].BlockDeviceMappings[0].Ebs.SnapshotId", "ec2", "describe-images", "--image-ids", image)
	aws.want(aws.text("Snapshots[0].[State,Tags[0].Value]", "ec2", "describe-snapshots", "--snapshot-ids", snapshot), "completed\tby hand")
	aws.blocks(snapshot)
	aws.refused("ResourceNotFoundException", "ebs", "list-snapshot-blocks", "--snapshot-id", "snap-00000000000000000")
	if left := s.Left(image, snapshot); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	aws.run("ssm", "put-parameter", "--name", "/images/newest", "--value", image, "--type", "String", "--data-type", "aws:ec2:image")
	aws.want(aws.text("Parameter.[Value,Version]", "ssm", "get-parameter", "--name", "/images/newest"), image+"\t1")
	aws.refused("ParameterAlreadyExists", "ssm", "put-parameter", "--name", "/images/newest", "--value", image, "--type", "String")
	aws.refused("ParameterNotFound", "ssm", "get-parameter", "--name", "/images/oldest")
}

// blocks reads a snapshot's first block and checks it against its checksum.
func (c awsCLI) blocks(snapshot string) {
	c.t.Helper()
	out, failure := c.try("ebs", "list-snapshot-blocks", "--snapshot-id", snapshot, "--max-results", "100")
	var list struct {
		Blocks []struct {
			BlockIndex json.Number
			BlockToken string
		}
		VolumeSize, BlockSize int
		ExpiryTime            time.Time
	}
	if failure != "" || json.Unmarshal([]byte(out), &list) != nil || len(list.Blocks) == 0 {
		c.t.Fatalf("list of blocks: %s%s", out, failure)
	}
	if life := time.Until(list.ExpiryTime); list.VolumeSize != 10 || list.BlockSize != 512<<10 || life < 6*24*time.Hour || life > 8*24*time.Hour {
		c.t.Errorf("list of blocks: %+v", list)
	}
	file := filepath.Join(c.t.TempDir(), "block")
	first := list.Blocks[0]
	sum, failure := c.try("ebs", "get-snapshot-block", "--snapshot-id", snapshot, "--block-index", first.BlockIndex.String(),
		"--block-token", first.BlockToken, file, "--query", "Checksum", "--output", "text")
	if failure != "" {
		c.t.Fatal(failure)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		c.t.Fatal(err)
	}
	own := sha256.Sum256(data)
	if len(data) != 512<<10 || base64.StdEncoding.EncodeToString(own[:]) != sum {
		c.t.Errorf("%d bytes with the checksum %x, want %s", len(data), own, sum)
	}
	c.refused("ValidationException", "ebs", "get-snapshot-block", "--snapshot-id", snapshot, "--block-index", "999999",
		"--block-token", first.BlockToken, file)
}

// What a script that prepares an account does: a user with a policy, which is
// all that the user may do.
func TestAccAWSCLIBootstrap(t *testing.T) {
	acceptance(t)
	s := stage.ForTest(t, stage.Options{})
	aws := newCLI(t, s)
	policy := `{"Version":"2012-10-17","Statement":[{"Sid":"See","Effect":"Allow","Action":["ec2:DescribeInstances","sts:DecodeAuthorizationMessage"],"Resource":"*",
		"Condition":{"StringEqualsIfExists":{"aws:RequestedRegion":"` + stage.AWSRegion + `"}}}]}`
	aws.run("iam", "create-user", "--user-name", "packer-graviton", "--tags", "Key=for,Value=builds")
	aws.refused("EntityAlreadyExists", "iam", "create-user", "--user-name", "packer-graviton")
	aws.run("iam", "put-user-policy", "--user-name", "packer-graviton", "--policy-name", "inline", "--policy-document", policy)
	aws.refused("MalformedPolicyDocument", "iam", "put-user-policy", "--user-name", "packer-graviton", "--policy-name", "inline",
		"--policy-document", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"DescribeInstances","Resource":"*"}]}`)
	aws.want(aws.text("PolicyDocument.Statement[0].Sid", "iam", "get-user-policy", "--user-name", "packer-graviton", "--policy-name", "inline"), "See")
	key := strings.Fields(aws.text("AccessKey.[AccessKeyId,SecretAccessKey]", "iam", "create-access-key", "--user-name", "packer-graviton"))
	user := aws.as(key[0], key[1], "")
	user.want(user.text("Arn", "sts", "get-caller-identity"), "arn:aws:iam::"+s.AWS.Build.ID+":user/packer-graviton")
	user.want(user.text("length(Reservations)", "ec2", "describe-instances"), "0")
	said := user.refused("UnauthorizedOperation", "ec2", "describe-images")
	_, message, _ := strings.Cut(said, "Encoded authorization failure message: ")
	message, _, _ = strings.Cut(message, " ")
	decoded := user.text("DecodedMessage", "sts", "decode-authorization-message", "--encoded-message", message)
	if !strings.Contains(decoded, `"action":"ec2:DescribeImages"`) || !strings.Contains(decoded, `"allowed":false`) {
		t.Errorf("decoded: %s", decoded)
	}
	user.refused("UnauthorizedOperation", "ec2", "describe-instances", "--region", "us-east-1")
	user.refused("AccessDenied", "iam", "list-access-keys")
	user.refused("AccessDeniedException", "ssm", "get-parameter", "--name", debianParameter)

	// A role that the user may assume, with a secret word.
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + s.AWS.Build.ID + `:user/packer-graviton"},
		"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"word"}}}]}`
	role := aws.text("Role.Arn", "iam", "create-role", "--role-name", "builder", "--assume-role-policy-document", trust)
	aws.run("iam", "attach-role-policy", "--role-name", "builder", "--policy-arn", "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess")
	user.refused("AccessDenied", "sts", "assume-role", "--role-arn", role, "--role-session-name", "job")
	session := strings.Fields(user.text("Credentials.[AccessKeyId,SecretAccessKey,SessionToken]", "sts", "assume-role", "--role-arn", role,
		"--role-session-name", "job", "--external-id", "word", "--duration-seconds", "900"))
	job := aws.as(session[0], session[1], session[2])
	job.want(job.text("Arn", "sts", "get-caller-identity"), "arn:aws:sts::"+s.AWS.Build.ID+":assumed-role/builder/job")
	job.want(job.text("length(Images)", "ec2", "describe-images", "--owners", "self"), "0")

	// And the undo.
	aws.refused("DeleteConflict", "iam", "delete-user", "--user-name", "packer-graviton")
	aws.run("iam", "delete-access-key", "--user-name", "packer-graviton", "--access-key-id", key[0])
	aws.run("iam", "delete-user-policy", "--user-name", "packer-graviton", "--policy-name", "inline")
	aws.run("iam", "delete-user", "--user-name", "packer-graviton")
	aws.run("iam", "detach-role-policy", "--role-name", "builder", "--policy-arn", "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess")
	aws.run("iam", "delete-role", "--role-name", "builder")
	user.refused("InvalidClientTokenId", "sts", "get-caller-identity")
}
