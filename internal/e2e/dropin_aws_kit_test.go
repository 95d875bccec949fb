// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// outcomeOnAWS is what came of a template: the machines that were there, the images
// that are there afterwards, and what people and scripts read. What no two runs
// have in common has placeholders.
type outcomeOnAWS struct {
	Machines  []awsMachine     `json:"machines"`
	Images    []awsImage       `json:"images"`
	Artifacts []string         `json:"artifacts"` // lines of Packer
	Manifest  []map[string]any `json:"manifest"`  // of the post-processor
	Said      []string         `json:"said"`      // lines that the template's own scripts print
}

// awsMachine is a machine as EC2 shows it when it is gone.
type awsMachine struct {
	Type    string            `json:"type"`
	Spot    bool              `json:"spot"`
	Image   string            `json:"image"`
	KeyPair string            `json:"keyPair"`
	Profile bool              `json:"profile"`
	Tokens  string            `json:"httpTokens"`
	Hops    int32             `json:"hops"`
	Tags    map[string]string `json:"tags"`
}

// awsImage is an image as its region shows it.
type awsImage struct {
	Region       string            `json:"region"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Architecture string            `json:"architecture"`
	Boot         string            `json:"bootMode"`
	IMDS         string            `json:"imdsSupport"`
	ENA          bool              `json:"enaSupport"`
	Protection   string            `json:"protection"`
	Deprecated   string            `json:"deprecated"`
	Devices      []awsDevice       `json:"devices"`
	Shared       []string          `json:"sharedWith"`
	Tags         map[string]string `json:"tags"`
}

// awsDevice is a device of an image, with its snapshot.
type awsDevice struct {
	Name       string            `json:"name"`
	SizeGB     int32             `json:"size"`
	Type       string            `json:"type"`
	IOPS       int32             `json:"iops"`
	Throughput int32             `json:"throughput"`
	Deleted    bool              `json:"deleteOnTermination"`
	Encrypted  bool              `json:"encrypted"`
	Key        string            `json:"key"`
	Shared     []string          `json:"sharedWith"`
	Tags       map[string]string `json:"tags"` // of the snapshot
}

// The keys of the account, of which templates name two.
const kmsHere, kmsThere = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-000000000000"

// dropInOnAWS is a stage on which one template is played.
type dropInOnAWS struct {
	t     *testing.T
	s     *stage.Stage
	mine  []string          // what was there before
	known map[string]string // placeholder by identifier
	env   []string
}

// ok is for calls that a test makes itself.
func ok[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newDropInOnAWS sets a stage with all that the templates name. Files of theirs are
// in dir.
func newDropInOnAWS(t *testing.T, dir string) *dropInOnAWS {
	t.Helper()
	d := &dropInOnAWS{t: t}
	d.s = stage.ForTest(t, stage.Options{AdjustAWS: func(a *ec2sim.Account) {
		a.KMSKeys, a.InstanceProfiles = []string{kmsHere, kmsThere}, []string{"builders"}
	}})
	a := d.s.AWS
	vpc := ok[string](t)(a.Cloud.AddVPC(a.Build, stage.AWSRegion))
	for _, z := range []string{"a", "b"} {
		ok[string](t)(a.Cloud.AddSubnet(a.Build, stage.AWSRegion, ec2sim.Subnet{VPC: vpc, AZ: stage.AWSRegion + z, Public: true}))
	}
	c := d.client(stage.AWSRegion)
	group := func(name string, vpc *string) string {
		id := *ok[*ec2.CreateSecurityGroupOutput](t)(c.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: vpc})).GroupId
		port := int32(a.Cloud.SSHPort()) //nolint:gosec // a port
		ok[*ec2.AuthorizeSecurityGroupIngressOutput](t)(c.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: &id, IpPermissions: []types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port, IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}},
		}))
		d.mine = append(d.mine, id)
		return id
	}
	inVPC, inDefault := group("theirs", &vpc), group("default-theirs", nil)
	pair := ok[*ec2.CreateKeyPairOutput](t)(c.CreateKeyPair(t.Context(), &ec2.CreateKeyPairInput{KeyName: aws.String("ci"), KeyType: types.KeyTypeEd25519}))
	d.mine = append(d.mine, *pair.KeyPairId)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	profiles := write("profiles", fmt.Sprintf("[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = nobodys\n\n[profile images]\naws_access_key_id = %s\naws_secret_access_key = %s\n", a.Build.AccessKeyID, a.Build.SecretAccessKey))
	d.env = append(d.s.Env(),
		// What a template says comes before what people have for other programs.
		"AWS_SUBNET_ID=", "AWS_SOURCE_AMI=", "AWS_SSH_USERNAME=", "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=600",
		"CI_KEY_ID="+a.Build.AccessKeyID, "CI_SECRET="+a.Build.SecretAccessKey, "CI_REGION="+stage.AWSRegion, "CI_AMI="+a.BaseImage,
		"CI_VPC="+vpc, "CI_GROUP="+inVPC, "CI_GROUP_DEFAULT="+inDefault, "CI_SUBNET="+a.Cloud.DefaultSubnet(a.Build, stage.AWSRegion, stage.AWSRegion+"b"),
		"CI_KMS_HERE="+kmsHere, "CI_KMS_THERE="+kmsThere, "CI_PROFILES="+profiles, "CI_KEY_PAIR=ci", "CI_KEY_FILE="+write("ci.pem", *pair.KeyMaterial),
		fmt.Sprintf("CI_SSH_PORT=%d", a.Cloud.SSHPort()),
	)
	d.known = map[string]string{a.Build.ID: "account"}
	return d
}

func (d *dropInOnAWS) client(region string) *ec2.Client {
	a := d.s.AWS.Build
	return ec2.New(ec2.Options{Region: region, HTTPClient: d.s.Net.Client(), Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, "")})
}

// build runs "packer build" with args in dir and returns what came of it.
func (d *dropInOnAWS) build(p *runpacker.Packer, dir string, args ...string) (outcomeOnAWS, string) {
	t := d.t
	t.Helper()
	var out inpacker.Output
	if err := p.Run(t.Context(), dir, d.env, &out, append([]string{"build"}, args...)...); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	said := out.String()
	var o outcomeOnAWS
	for _, region := range []string{stage.AWSRegion, "eu-west-1", "us-east-1"} {
		o.Images = append(o.Images, d.images(region)...)
		o.Machines = append(o.Machines, d.machines(region)...)
	}
	body, artifacts, _ := strings.Cut(said, "The artifacts of successful builds are:")
	for line := range strings.SplitSeq(body, "\n") {
		if _, text, is := strings.Cut(line, "said: "); is && !strings.Contains(line, "echo") {
			o.Said = append(o.Said, text)
		}
	}
	for entry := range strings.SplitSeq(artifacts, "--> ") {
		if entry = strings.TrimSpace(entry); entry != "" {
			o.Artifacts = append(o.Artifacts, entry)
		}
	}
	manifest := ok[[]string](t)(filepath.Glob(filepath.Join(dir, "*manifest.json")))
	if len(manifest) != 1 {
		t.Fatalf("manifests: %q", manifest)
	}
	var m struct{ Builds []map[string]any }
	if err := json.Unmarshal(ok[[]byte](t)(os.ReadFile(manifest[0])), &m); err != nil {
		t.Fatal(err)
	}
	for _, b := range m.Builds {
		delete(b, "build_time")
		delete(b, "packer_run_uuid")
	}
	o.Manifest = m.Builds
	return d.normal(o), said
}

// machines are those that were there.
func (d *dropInOnAWS) machines(region string) (all []awsMachine) {
	r := ok[*ec2.DescribeInstancesOutput](d.t)(d.client(region).DescribeInstances(d.t.Context(), &ec2.DescribeInstancesInput{}))
	for _, v := range r.Reservations {
		for _, i := range v.Instances {
			m := awsMachine{
				Type: string(i.InstanceType), Spot: i.InstanceLifecycle == types.InstanceLifecycleTypeSpot, Image: aws.ToString(i.ImageId), KeyPair: aws.ToString(i.KeyName),
				Profile: i.IamInstanceProfile != nil, Tags: awsTags(i.Tags),
			}
			if o := i.MetadataOptions; o != nil {
				m.Tokens, m.Hops = string(o.HttpTokens), aws.ToInt32(o.HttpPutResponseHopLimit)
			}
			all = append(all, m)
		}
	}
	return all
}

func awsTags(list []types.Tag) map[string]string {
	all := map[string]string{}
	for _, t := range list {
		all[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return all
}

// images are those that builds made. It also learns the names of those that they
// begin with.
func (d *dropInOnAWS) images(region string) (all []awsImage) {
	t := d.t
	t.Helper()
	c := d.client(region)
	for _, i := range ok[*ec2.DescribeImagesOutput](t)(c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{ec2sim.DebianAccount}})).Images {
		d.known[*i.ImageId] = "image " + *i.Name
	}
	for _, i := range ok[*ec2.DescribeImagesOutput](t)(c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})).Images {
		d.known[*i.ImageId] = "made " + *i.Name + " in " + region
		m := awsImage{
			Region: region, Name: *i.Name, Description: aws.ToString(i.Description), Architecture: string(i.Architecture), Boot: string(i.BootMode), IMDS: string(i.ImdsSupport),
			ENA: aws.ToBool(i.EnaSupport), Protection: aws.ToString(i.DeregistrationProtection), Deprecated: aws.ToString(i.DeprecationTime), Tags: awsTags(i.Tags),
		}
		shared := ok[*ec2.DescribeImageAttributeOutput](t)(c.DescribeImageAttribute(t.Context(), &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameLaunchPermission}))
		for _, p := range shared.LaunchPermissions {
			m.Shared = append(m.Shared, cmp.Or(aws.ToString(p.UserId), string(p.Group), aws.ToString(p.OrganizationArn), aws.ToString(p.OrganizationalUnitArn)))
		}
		slices.Sort(m.Shared)
		for _, x := range i.BlockDeviceMappings {
			if x.Ebs == nil {
				continue
			}
			e := awsDevice{
				Name: *x.DeviceName, SizeGB: aws.ToInt32(x.Ebs.VolumeSize), Type: string(x.Ebs.VolumeType), IOPS: aws.ToInt32(x.Ebs.Iops), Throughput: aws.ToInt32(x.Ebs.Throughput),
				Deleted: aws.ToBool(x.Ebs.DeleteOnTermination), Encrypted: aws.ToBool(x.Ebs.Encrypted),
			}
			shot := ok[*ec2.DescribeSnapshotsOutput](t)(c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*x.Ebs.SnapshotId}})).Snapshots[0]
			d.mine = append(d.mine, *x.Ebs.SnapshotId, *i.ImageId)
			e.Key, e.Tags = aws.ToString(shot.KmsKeyId), awsTags(shot.Tags)
			may := ok[*ec2.DescribeSnapshotAttributeOutput](t)(c.DescribeSnapshotAttribute(t.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: x.Ebs.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission}))
			for _, p := range may.CreateVolumePermissions {
				e.Shared = append(e.Shared, cmp.Or(aws.ToString(p.UserId), string(p.Group)))
			}
			slices.Sort(e.Shared)
			m.Devices = append(m.Devices, e)
		}
		slices.SortFunc(m.Devices, func(a, b awsDevice) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, m)
	}
	return all
}

var (
	anyPair  = regexp.MustCompile(`"packer_[0-9a-f-]{36}"`)
	anyFleet = regexp.MustCompile(`"(fleet-[0-9a-f-]{36}|lt-[0-9a-f]{17})"`)
)

// normal puts placeholders where runs differ, and the parts in an order.
func (d *dropInOnAWS) normal(o outcomeOnAWS) outcomeOnAWS {
	d.t.Helper()
	plain := awsJSON(d.t, o)
	for id, name := range d.known {
		plain = strings.ReplaceAll(plain, id, "${"+name+"}")
	}
	plain = anyPair.ReplaceAllString(plain, `"$${temporary}"`)
	plain = anyFleet.ReplaceAllString(plain, `"$${fleet}"`)
	o = outcomeOnAWS{}
	if err := json.Unmarshal([]byte(plain), &o); err != nil {
		d.t.Fatal(err)
	}
	inAnyOrder(d.t, o.Machines)
	inAnyOrder(d.t, o.Images)
	inAnyOrder(d.t, o.Manifest)
	slices.Sort(o.Artifacts)
	slices.Sort(o.Said)
	return o
}

var ownTags = regexp.MustCompile(`"armfree(:build)?":"[^"]*",?`)

// inAnyOrder sorts by all that there is to compare; our tags are others each time.
func inAnyOrder[T any](t *testing.T, list []T) {
	text := func(v T) string { return ownTags.ReplaceAllString(string(ok[[]byte](t)(json.Marshal(v))), "") }
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(text(a), text(b)) })
}

// awsJSON is an outcome as it is recorded.
func awsJSON(t *testing.T, o outcomeOnAWS) string {
	t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(o); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
