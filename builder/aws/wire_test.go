// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// sent is a request as it went over the wire.
type sent struct {
	op     string // "RunInstances"
	host   string
	key    string // the header Authorization
	values url.Values
}

// at is a value of a request: "ImageId", "filter:name", "tag:instance/Name",
// "device:/dev/sdf/Ebs.VolumeSize", "userdata", "host", "key". Several values are
// separated by commas, none is nil.
func (s sent) at(path string) any {
	kind, rest, _ := strings.Cut(path, ":")
	switch {
	case path == "host":
		return s.host
	case path == "key":
		return s.key
	case path == "userdata":
		plain, err := base64.StdEncoding.DecodeString(s.values.Get("UserData"))
		if err != nil {
			return err
		}
		return string(plain)
	case kind == "filter":
		return s.listed("Filter", "Name", rest, "Value.")
	case kind == "tag":
		resource, key, _ := strings.Cut(rest, "/")
		for n := 1; s.values.Has(fmt.Sprintf("TagSpecification.%d.ResourceType", n)); n++ {
			at := fmt.Sprintf("TagSpecification.%d.", n)
			if s.values.Get(at+"ResourceType") == resource {
				return s.listed(at+"Tag", "Key", key, "Value")
			}
		}
		return nil
	case kind == "device":
		i := strings.LastIndex(rest, "/")
		return s.listed("BlockDeviceMapping", "DeviceName", rest[:i], rest[i+1:])
	}
	if v := s.values[path]; len(v) > 0 {
		return v[0]
	}
	return s.all(path + ".")
}

// listed is a member of that part of a list whose name is wanted.
func (s sent) listed(list, name, wanted, member string) any {
	for n := 1; n < 20; n++ {
		at := fmt.Sprintf("%s.%d.", list, n)
		if s.values.Get(at+name) != wanted || !s.values.Has(at+name) {
			continue
		}
		if strings.HasSuffix(member, ".") {
			return s.all(at + member)
		}
		if !s.values.Has(at + member) {
			return nil
		}
		return s.values.Get(at + member)
	}
	return nil
}

// all are the values of a list.
func (s sent) all(prefix string) any {
	var list []string
	for n := 1; s.values.Has(fmt.Sprint(prefix, n)); n++ {
		list = append(list, s.values.Get(fmt.Sprint(prefix, n)))
	}
	if list == nil {
		return nil
	}
	return strings.Join(list, ",")
}

// tap notes every request that the builder sends.
type tap struct {
	next  http.RoundTripper
	until string
	pull  func()

	mu   sync.Mutex
	list []sent
}

// sweeps says whether a request looks for leftovers of earlier builds, which every
// build does first and no option changes.
func (s sent) sweeps() bool {
	v := s.values
	all := v.Get("Filter.1.Name") == "tag-key" && v.Get("Filter.1.Value.1") == "armfree" && !v.Has("Filter.2.Name")
	return all || s.op == "DescribeImages" && v.Get("Owner.1") == "self" && !v.Has("Filter.1.Name") && !v.Has("ImageId.1")
}

// RoundTrip implements http.RoundTripper.
func (w *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	var raw []byte
	if r.Body != nil {
		var err error
		if raw, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	s := sent{host: r.URL.Host, key: r.Header.Get("Authorization") + " " + r.Header.Get("X-Amz-Security-Token"), values: url.Values{}}
	if _, op, is := strings.Cut(r.Header.Get("X-Amz-Target"), "."); is {
		s.op = op
		fields := map[string]any{}
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, err
		}
		for k, v := range fields {
			s.values.Set(k, fmt.Sprint(v))
		}
	} else if form, err := url.ParseQuery(string(raw)); err == nil {
		s.op, s.values = form.Get("Action"), form
	}
	if s.op == "" {
		s.op = r.URL.Host
	}
	if s.sweeps() {
		return w.next.RoundTrip(r)
	}
	w.mu.Lock()
	w.list = append(w.list, s)
	w.mu.Unlock()
	resp, err := w.next.RoundTrip(r)
	if w.until != "" && s.op == w.until {
		w.pull()
	}
	return resp, err
}

const (
	near, far         = "eu-central-1", "eu-west-1"
	keyHere, keyThere = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-000000000000"
	newer             = "debian-13-arm64-20261112-2658"
)

// wireSet is a whole simulated cloud behind memory, so that a build against it
// takes no time inside a bubble of testing/synctest; and things of the user's that
// options can name.
type wireSet struct {
	*ec2sim.Cloud
	account *ec2sim.Account
	http    *http.Client
	files   string

	subnet, vpc, group, snapshot string // in near
	small                        string // another subnet in vpc
	groupThere, subnetThere      string // in far
	vpcThere, lonely             string // another VPC in far, and its subnet
}

func newWireSet(t *testing.T, files string) *wireSet {
	t.Helper()
	s := &wireSet{account: ec2sim.NewAccount("build"), files: files}
	s.account.InstanceProfiles, s.account.KMSKeys = []string{"p"}, []string{keyHere, keyThere}
	disk := filepath.Join(t.TempDir(), "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{s.account}, Driver: machine.Idle{}, WorkDir: t.TempDir(), Offline: true,
		Images: append(ec2sim.DebianImages(disk), ec2sim.BaseImage{Name: "mine", Path: disk, Owner: s.account, Regions: []string{near}}),
	}
	var err error
	if s.Cloud, err = ec2sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	s.http = simnet.Pipe(s.Cloud)
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *wireSet) client(region string) *ec2.Client {
	return ec2.New(ec2.Options{Region: region, HTTPClient: s.http, Credentials: credentials.NewStaticCredentialsProvider(s.account.AccessKeyID, s.account.SecretAccessKey, "")})
}

// furnish makes what options can name.
func (s *wireSet) furnish(t *testing.T) {
	t.Helper()
	var err error
	if s.vpc, err = s.AddVPC(s.account, near); err != nil {
		t.Fatal(err)
	}
	if s.subnet, err = s.AddSubnet(s.account, near, ec2sim.Subnet{VPC: s.vpc, AZ: near + "b", Public: true}); err != nil {
		t.Fatal(err)
	}
	if s.small, err = s.AddSubnet(s.account, near, ec2sim.Subnet{VPC: s.vpc, AZ: near + "a", Bits: 26}); err != nil {
		t.Fatal(err)
	}
	if s.vpcThere, err = s.AddVPC(s.account, far); err != nil {
		t.Fatal(err)
	}
	if s.lonely, err = s.AddSubnet(s.account, far, ec2sim.Subnet{VPC: s.vpcThere, AZ: far + "a"}); err != nil {
		t.Fatal(err)
	}
	c := s.client(near)
	made := must[*ec2.CreateSecurityGroupOutput](t)(c.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: awssdk.String("mine"), Description: awssdk.String("mine")}))
	s.group = *made.GroupId
	there := must[*ec2.CreateSecurityGroupOutput](t)(s.client(far).CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: awssdk.String("mine"), Description: awssdk.String("mine")}))
	s.groupThere, s.subnetThere = *there.GroupId, s.DefaultSubnet(s.account, far, far+"b")
	_, public := newSSHKey(t)
	for _, region := range []string{near, far} {
		must[*ec2.ImportKeyPairOutput](t)(s.client(region).ImportKeyPair(t.Context(), &ec2.ImportKeyPairInput{KeyName: awssdk.String("k"), PublicKeyMaterial: []byte(public)}))
	}
	img := must[*ec2.DescribeImagesOutput](t)(c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{s.ImageID(near, "mine")}})).Images[0]
	s.snapshot = *img.BlockDeviceMappings[0].Ebs.SnapshotId
}

// settings is a template for it.
func (s *wireSet) settings() set {
	return set{
		"access_key": s.account.AccessKeyID, "secret_key": s.account.SecretAccessKey, "region": near, "source_ami": s.ImageID(near, "debian-12-arm64-20261112-2658"),
		"ssh_username": "admin", "ami_name": "built", "communicator": "none", "skip_create_ami": true, "capacity_timeout": "10m",
	}
}

// requests are those of a build with some options, in order. It has no connection
// unless they say so; until, if set, is a request at which it is cancelled, so that
// it need not connect.
func (s *wireSet) requests(t *testing.T, o onWire, sets ...set) ([]sent, string, error) {
	t.Helper()
	s.ResetFaults()
	if err := s.AddFaults(o.faults...); err != nil {
		t.Fatal(err)
	}
	in := s.settings()
	for _, m := range sets {
		maps.Copy(in, m)
	}
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &tap{next: s.http.Transport, until: o.until, pull: cancel}
	b := &Builder{Mask: new(mask.Masker), HTTP: &http.Client{Transport: w}}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(nothing))
	w.mu.Lock()
	list := slices.Clone(w.list)
	w.mu.Unlock()
	if o.until != "" && errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil && a != nil {
		if err := a.Destroy(); err != nil && !o.stays {
			t.Error(err)
		}
	}
	return list, out.String(), err
}

// nothing is a template without provisioners.
func nothing(context.Context, packersdk.Ui, packersdk.Communicator) error { return nil }

// onWire is what an option changes in the requests of a build.
type onWire struct {
	options []string // "ami_name", "metadata_options.http_tokens"
	set     set
	with    set // what else the template says, so that the option matters
	faults  []ec2sim.Fault
	// op is the request that is looked at, the first of its kind, and want its
	// values: nil is none, a func(any) bool looks itself.
	op   string
	host string // if set: a part of the host of that request
	want map[string]any
	// gone: there is no such request any more. fails: the build comes to this end.
	gone  bool
	fails string
	alone bool   // without the option the build fails
	stays bool   // the image cannot be removed
	until string // the request at which the build is cancelled; see requests
	says  string // said with the option, and not without it
}

// differs says in what the requests are not those that the row wants.
func (o onWire) differs(list []sent) (wrong []string) {
	i := slices.IndexFunc(list, func(s sent) bool { return s.op == o.op && strings.Contains(s.host, o.host) })
	if o.gone {
		if i >= 0 {
			wrong = append(wrong, "there is a "+o.op)
		}
		return wrong
	}
	if i < 0 {
		return []string{"there is no " + o.op}
	}
	for path, want := range o.want {
		got := list[i].at(path)
		if f, ok := want.(func(any) bool); ok {
			if !f(got) {
				wrong = append(wrong, fmt.Sprintf("%s of %s is %v", path, o.op, got))
			}
		} else if !reflect.DeepEqual(got, want) {
			wrong = append(wrong, fmt.Sprintf("%s of %s is %v, want %v", path, o.op, got, want))
		}
	}
	return wrong
}

// wireFiles is a folder with files that options can name.
func wireFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	private, public := newSSHKey(t)
	for name, text := range map[string]string{"key.pem": private, "key.pub": public, "user-data": "#!/bin/sh\n: from a file\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// file is the text of one of them.
func (s *wireSet) file(t *testing.T, name string) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile(filepath.Join(s.files, name))))
}

// Every option that AWS is told of, as a template has it, and as it goes over the
// wire. A build without the option must not send the same, or a row would prove
// nothing.
func TestOptionsOnTheWire(t *testing.T) {
	t.Parallel()
	files := wireFiles(t)
	for i, r := range newWireSet(t, files).rows(t) {
		t.Run(strings.Join(r.options, ", "), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t, files)
				s.furnish(t)
				s.rows(t)[i].prove(t, s)
			})
		})
	}
}

func (o onWire) prove(t *testing.T, s *wireSet) {
	before := s.left()
	plain, said, err := s.requests(t, o, o.with)
	if (err != nil) != o.alone {
		t.Fatalf("without it: %v\n%s", err, said)
	}
	time.Sleep(2 * time.Hour) // of the bubble: EC2 no longer shows where a machine ran
	list, now, err := s.requests(t, o, o.with, o.set)
	if o.fails != "" && (err == nil || !strings.Contains(err.Error(), o.fails)) {
		t.Errorf("%v", err)
	}
	if o.fails == "" && err != nil {
		t.Fatalf("%v\n%s", err, now)
	}
	if o.op != "" {
		for _, d := range o.differs(list) {
			t.Error(d)
		}
	}
	if !strings.Contains(now, o.says) || o.says != "" && strings.Contains(said, o.says) {
		t.Errorf("%q is not said, or is said without the option, too:\n%s", o.says, now)
	}
	if len(o.want) == 0 && o.says == "" && o.fails == "" && len(o.differs(plain)) == 0 {
		t.Error("it is the same without the option")
	}
	for path, want := range o.want {
		if len(onWire{op: o.op, host: o.host, want: map[string]any{path: want}}.differs(plain)) == 0 {
			t.Errorf("%s is the same without the option", path)
		}
	}
	time.Sleep(time.Minute) // of the bubble: volumes go a little later than machines
	if left := s.left(); !slices.Equal(left, before) && !o.stays {
		t.Errorf("left behind: %q", left)
	}
}

// left is what there is, without volumes that were to stay.
func (s *wireSet) left() []string {
	return slices.DeleteFunc(s.Left(), func(l string) bool { return strings.HasPrefix(l, "volume ") && strings.HasSuffix(l, " (available)") })
}

// contains looks for a part of a text, or for its absence.
func contains(part string) func(any) bool {
	return func(v any) bool { text, _ := v.(string); return strings.Contains(text, part) }
}

func lacks(part string) func(any) bool {
	return func(v any) bool { text, ok := v.(string); return ok && !strings.Contains(text, part) }
}
