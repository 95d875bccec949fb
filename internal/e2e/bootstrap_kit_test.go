// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	awsbuilder "github.com/armfree/packer-plugin-armfree/builder/aws"
	armfree "github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

const (
	bootstrapAWS  = "../../example/bootstrap/aws"
	graviton      = "packer-graviton" // the name that the script takes by default
	gravitonOther = "eu-west-1"       // where copies go
	ciExports     = "exports-of-ci"   // where EC2 exports images to
)

// features are the policies beside the inline one: those that the script attaches
// unasked, and the others.
func features() (unasked, others []string) {
	return []string{"image", "security-group"},
		[]string{"spot", "create-image", "key-pair", "copy", "share", "replace", "ssm", "ebs-direct", "export-image"}
}

// policyFile is a policy with its blanks filled in, as the script does it.
func policyFile(t *testing.T, s *awsstage.Stage, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(bootstrapAWS, "policies", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"@NAME@", graviton, "@ACCOUNT@", s.Build.ID, "@TYPES@", `t4g.*","*g.medium`,
		"@BUCKET@", ciExports, "@OWNERS@", `amazon","136693071363","`+s.Build.ID, "@REGIONS@", awsstage.Region+`","`+gravitonOther,
	).Replace(string(text))
}

// ci is a user with the published policies, and what is seen of it.
type ci struct {
	*awsstage.Stage
	t         *testing.T
	iam       *iam.Client // of somebody who may do everything, as is ec2
	ec2       *ec2.Client
	id, key   string // access key
	unused    []ec2sim.Grant
	firstUses []string // lines of a table
	kept      []string // images and snapshots
	long      bool     // builds take so long that what they have is renewed
}

// newCI makes the user as the script does, with the policies that it attaches
// unasked.
func newCI(t *testing.T, s *awsstage.Stage) *ci {
	withoutAWS(t)
	c := &ci{Stage: s, t: t, iam: iam.NewFromConfig(s.Config(awsstage.Region)), ec2: ec2.NewFromConfig(s.Config(awsstage.Region))}
	name := aws.String(graviton)
	_, err := c.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: name})
	c.must(err)
	_, err = c.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String(graviton + "-inline"), PolicyDocument: aws.String(policyFile(t, s, "build"))})
	c.must(err)
	made, err := c.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: name})
	c.must(err)
	c.id, c.key = *made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey
	unasked, _ := features()
	c.attach(unasked...)
	return c
}

// withoutAWS empties the environment of what the builder and the SDK read.
func withoutAWS(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
}

func (c *ci) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// spotRole makes the account's role for spot machines, as the script does.
func (c *ci) spotRole() {
	c.t.Helper()
	_, err := c.iam.CreateServiceLinkedRole(c.t.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("spot.amazonaws.com")})
	c.must(err)
}

// attach gives the user policies.
func (c *ci) attach(names ...string) {
	c.t.Helper()
	for _, n := range names {
		made, err := c.iam.CreatePolicy(c.t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(graviton + "-" + n), PolicyDocument: aws.String(policyFile(c.t, c.Stage, n))})
		c.must(err)
		_, err = c.iam.AttachUserPolicy(c.t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(graviton), PolicyArn: made.Policy.Arn})
		c.must(err)
	}
	c.unused = c.Cloud.UnusedGrants(c.Build, graviton)
}

// run runs the builder as Packer would, signed by the user's access key.
func (c *ci) run(options map[string]interface{}) (packersdk.Artifact, string, error) {
	c.t.Helper()
	in := map[string]interface{}{
		"packer_build_name": "ci", "access_key": c.id, "secret_key": c.key, "region": awsstage.Region, "source_ami": c.BaseImage,
		"ssh_username": "admin", "ssh_port": c.Cloud.SSHPort(), "ssh_timeout": "60s", "capacity_timeout": "60s", "capacity_interval": "1s",
	}
	maps.Copy(in, options)
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	b := &awsbuilder.Builder{Mask: new(mask.Masker), HTTP: c.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		c.t.Fatal(err)
	}
	var out inpacker.Output
	var hook packersdk.Hook = touched{}
	if c.long {
		hook = lasting{c}
	}
	a, err := b.Run(c.t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, hook)
	return a, out.String(), err
}

// lasting is a provisioner that takes so long that what the build has is renewed.
type lasting struct{ c *ci }

func (l lasting) Run(ctx context.Context, name string, _ packersdk.Ui, _ packersdk.Communicator, _ interface{}) error {
	if name != packersdk.HookProvision {
		return nil
	}
	who := armfree.Credentials{Region: awsstage.Region, AccessKey: l.c.id, SecretKey: l.c.key, NoIMDS: true}
	client, err := armfree.NewClient(ctx, who, armfree.Options{HTTP: l.c.Net.Client()})
	if err != nil {
		return err
	}
	renewed := 0
	for _, build := range l.c.builds() {
		if err := sweep.Renew(ctx, []sweep.Cloud{&armfree.Leftovers{Client: client}}, build, 24*time.Hour); err != nil {
			return err
		}
		renewed++
	}
	if renewed != 1 {
		return fmt.Errorf("%d builds go on", renewed)
	}
	return nil
}

// builds are the ids of those whose machines run.
func (c *ci) builds() (ids []string) {
	for _, a := range c.Cloud.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.Kind == "instance" && x.State == "running" {
					ids = append(ids, x.Tags["armfree:build"])
				}
			}
		}
	}
	return ids
}

// touched is a provisioner that changes the disk.
type touched struct{}

func (touched) Run(_ context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, _ interface{}) error {
	if name != packersdk.HookProvision {
		return nil
	}
	return comm.Upload("/home/admin/built", strings.NewReader("by armfree"), nil)
}

// build is a build that must succeed with nothing refused. It returns the image's
// id in the region of the build.
func (c *ci) build(what string, options map[string]interface{}) string {
	c.t.Helper()
	a, said, err := c.run(options)
	c.look(what)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", what, err, said)
	}
	if a == nil {
		return ""
	}
	for pair := range strings.SplitSeq(a.Id(), ",") {
		if region, image, _ := strings.Cut(pair, ":"); region == awsstage.Region {
			return image
		}
	}
	c.t.Fatalf("%s made %q", what, a.Id())
	return ""
}

// look sees what the user needed for the first time, that nothing was refused, and
// that nothing but images and snapshots is left.
func (c *ci) look(what string) {
	c.t.Helper()
	now := c.Cloud.UnusedGrants(c.Build, graviton)
	for _, g := range c.unused {
		if !slices.Contains(now, g) {
			c.firstUses = append(c.firstUses, fmt.Sprintf("| %s | %s | `%s` | %s |", strings.TrimPrefix(g.Policy, graviton+"-"), g.Statement, g.Action, what))
		}
	}
	c.unused = now
	for _, u := range c.Cloud.IAMRefusals(c.Build, graviton) {
		c.t.Errorf("%s: %s on %s was refused: %s", what, u.Action, u.Resource, u.Reason)
	}
	c.kept = nil
	for _, a := range c.Cloud.Inventory().Accounts {
		for _, x := range a.IAM { // the user itself, and what it has
			c.kept = append(c.kept, x.ID)
		}
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.Kind == "image" || x.Kind == "snapshot" || x.Kind == "key-pair" && x.Name == graviton+"-key" {
					c.kept = append(c.kept, x.ID)
				}
			}
		}
	}
	for _, left := range c.Left(c.kept...) {
		byHand := strings.HasPrefix(left, "security-group") && strings.Contains(left, "by-hand")
		if !byHand && !strings.HasSuffix(left, "(deleting)") {
			c.t.Errorf("%s: left behind: %s", what, left)
		}
	}
}

// snapshotOf is the snapshot of an image's root volume.
func (c *ci) snapshotOf(image string) string {
	c.t.Helper()
	r, err := c.ec2.DescribeImages(c.t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
	c.must(err)
	return *r.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
}

// readSnapshot reads a block of an image's snapshot by the EBS direct APIs.
func (c *ci) readSnapshot(image string) {
	c.t.Helper()
	base := "https://ebs." + awsstage.Region + ".amazonaws.com/snapshots/" + c.snapshotOf(image) + "/blocks"
	var list struct {
		Blocks []struct {
			BlockIndex int
			BlockToken string
		}
	}
	c.must(json.Unmarshal(c.get(base), &list))
	if len(list.Blocks) == 0 {
		c.t.Fatal("a snapshot without blocks")
	}
	if b := list.Blocks[0]; len(c.get(fmt.Sprintf("%s/%d?blockToken=%s", base, b.BlockIndex, url.QueryEscape(b.BlockToken)))) == 0 {
		c.t.Error("an empty block")
	}
}

// get is a signed request of the user.
func (c *ci) get(address string) []byte {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, address, nil)
	c.must(err)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	c.must(v4.NewSigner().SignHTTP(c.t.Context(), aws.Credentials{AccessKeyID: c.id, SecretAccessKey: c.key}, req, empty, "ebs", awsstage.Region, time.Now()))
	resp, err := c.Net.Client().Do(req)
	c.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	c.must(err)
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s\n%s", address, resp.Status, body)
	}
	return body
}

// detach takes a policy from the user: there may be ten.
func (c *ci) detach(name string) {
	c.t.Helper()
	_, err := c.iam.DetachUserPolicy(c.t.Context(), &iam.DetachUserPolicyInput{UserName: aws.String(graviton), PolicyArn: aws.String("arn:aws:iam::" + c.Build.ID + ":policy/" + graviton + "-" + name)})
	c.must(err)
	c.unused = c.Cloud.UnusedGrants(c.Build, graviton)
}

// exporter makes the role by which EC2 exports images, as the script does.
func (c *ci) exporter() {
	c.t.Helper()
	name := aws.String(graviton + "-export")
	_, err := c.iam.CreateRole(c.t.Context(), &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(policyFile(c.t, c.Stage, "trust-vmie"))})
	c.must(err)
	_, err = c.iam.PutRolePolicy(c.t.Context(), &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: aws.String(policyFile(c.t, c.Stage, "exporter"))})
	c.must(err)
}

// export has an image exported for a copy, signed by the user, and begins again after a
// run that was killed while EC2 wrote, and one that was killed when it had.
func (c *ci) export(image string) {
	c.t.Helper()
	ctx := c.t.Context()
	who := armfree.Credentials{Region: awsstage.Region, AccessKey: c.id, SecretKey: c.key, NoIMDS: true}
	client, err := armfree.NewClient(ctx, who, armfree.Options{HTTP: c.Net.Client()})
	c.must(err)
	run := func(n int) *armfree.ImageExport {
		x := &armfree.ImageExport{
			AMI: &armfree.AMI{Client: client, ID: image, Warn: c.t.Logf}, Bucket: ciExports, Prefix: "images/", Role: graviton + "-export",
			Owner: owner.Derive(time.Now().Add(time.Duration(n)*time.Minute), time.Hour, image), Token: fmt.Sprint("run-", n),
		}
		_, err := x.Describe(ctx)
		c.must(err)
		c.must(x.Check(ctx))
		return x
	}
	c.must(c.Cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: "ExportImage", State: "active", Delay: ec2sim.Duration(time.Hour), Times: 1}))
	killed, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if _, _, err := run(1).Open(killed, c.t.Logf); err == nil {
		c.t.Error("an export that takes an hour has come to an end")
	}
	c.must(run(2).Tidy(ctx)) // takes it over and ends it
	x := run(3)
	file, size, err := x.Open(ctx, c.t.Logf)
	c.must(err)
	if n, err := file.ReadAt(make([]byte, 16), 0); n != 16 || size == 0 {
		c.t.Errorf("%d of %d: %v", n, size, err)
	}
	c.must(x.Close(ctx))
	c.must(run(4).Tidy(ctx)) // sees that its file is gone
}
