// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// witness remembers what IAM was asked, and says no to what a test wants.
type witness struct {
	mu   sync.Mutex
	seen []ec2sim.Access
	deny func(ec2sim.Access) bool
}

func (w *witness) authorize(a ec2sim.Access) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, a)
	if w.deny != nil && w.deny(a) {
		return errors.New("a policy of the test denies it")
	}
	return nil
}

// about finds the last question about an action.
func (w *witness) about(action string) (found ec2sim.Access) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.seen {
		if a.Action == action {
			found = a
		}
	}
	return found
}

func TestAuthorize(t *testing.T) {
	w := &witness{}
	k := newKit(t, func(c *ec2sim.Config) {
		c.Authorize = w.authorize
		c.Accounts[0].InstanceProfiles = []string{"builder"}
	})
	ctx := t.Context()
	who, keys := k.cloud.AddUser(k.build, "ci")
	client := k.clientWith(keys, region)
	tags := []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("armfree:build"), Value: aws.String("1")}}}}
	in := k.launch(func(in *ec2.RunInstancesInput) {
		in.TagSpecifications, in.Placement = tags, &types.Placement{AvailabilityZone: aws.String("us-east-1a")}
		in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: "required"}
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("builder")}
	})
	out := must[*ec2.RunInstancesOutput](t)(client.RunInstances(ctx, in))
	a := w.about("ec2:RunInstances")
	if a.Principal.ARN != who.ARN || a.Context["aws:RequestedRegion"][0] != region || a.Context["aws:username"][0] != "ci" || a.Context["aws:SourceIp"][0] != "198.51.100.7" {
		t.Errorf("asked %+v", a)
	}
	var arns []string
	for _, r := range a.Resources {
		arns = append(arns, r.ARN)
		switch {
		case strings.HasSuffix(r.ARN, ":instance/*"):
			for key, want := range map[string]string{"aws:RequestTag/armfree:build": "1", "aws:TagKeys": "armfree:build", "ec2:InstanceType": "t4g.micro",
				"ec2:MetadataHttpTokens": "required", "ec2:AvailabilityZone": "us-east-1a", "ec2:InstanceMarketType": "on-demand"} {
				if !slices.Equal(r.Context[key], []string{want}) {
					t.Errorf("%s is %q", key, r.Context[key])
				}
			}
		case strings.Contains(r.ARN, "::image/"):
			if r.Context["ec2:Owner"][0] != ec2sim.DebianAccount || r.Context["ec2:Public"][0] != "true" {
				t.Errorf("image %+v", r)
			}
		}
	}
	base := "arn:aws:ec2:" + region + ":" + k.build.ID + ":"
	for _, want := range []string{base + "instance/*", base + "volume/*", base + "network-interface/*", "arn:aws:ec2:us-east-1::image/" + k.ami,
		base + "security-group/sg-*", base + "subnet/*"} {
		if !slices.ContainsFunc(arns, func(arn string) bool { ok, _ := path.Match(want, arn); return ok || arn == want }) {
			t.Errorf("not asked about %s: %q", want, arns)
		}
	}
	made := w.about("ec2:CreateTags")
	if made.Context["ec2:CreateAction"][0] != "RunInstances" || len(made.Resources) != 1 || made.Resources[0].ARN != base+"instance/*" {
		t.Errorf("tags: %+v", made)
	}
	if pass := w.about("iam:PassRole"); pass.Context["iam:PassedToService"][0] != "ec2.amazonaws.com" {
		t.Errorf("role: %+v", pass)
	}

	id := *out.Instances[0].InstanceId
	k.reaches(k.client, id, "running")
	w.deny = func(a ec2sim.Access) bool { return a.Action == "ec2:TerminateInstances" }
	_, err := client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	wantError(t, err, 403, "UnauthorizedOperation", "not authorized to perform")
	_, encoded, _ := strings.Cut(err.Error(), "Encoded authorization failure message: ")
	if text, err := ec2sim.DecodeMessage(encoded); err != nil || !strings.Contains(text, "a policy of the test denies it") {
		t.Errorf("message %q: %v", text, err)
	}
	if a := w.about("ec2:TerminateInstances"); a.Resources[0].ARN != base+"instance/"+id || a.Resources[0].Context["aws:ResourceTag/armfree:build"][0] != "1" ||
		a.Resources[0].Context["ec2:ResourceTag/armfree:build"][0] != "1" {
		t.Errorf("asked %+v", a)
	}
	w.deny = func(a ec2sim.Access) bool { return a.Action == "ec2:CreateTags" }
	for _, token := range []*string{in.ClientToken, nil} { // a repetition needs permission too
		in.ClientToken = token
		_, err = client.RunInstances(ctx, in)
		wantError(t, err, 403, "UnauthorizedOperation", "ec2:CreateTags")
	}
	if n := len(must[*ec2.DescribeInstancesOutput](t)(client.DescribeInstances(ctx, nil)).Reservations); n != 1 {
		t.Errorf("%d reservations", n)
	}
	w.deny = func(a ec2sim.Access) bool { return true }
	in.DryRun = aws.Bool(true)
	_, err = client.RunInstances(ctx, in)
	wantError(t, err, 403, "UnauthorizedOperation", "")
	if w.about("ec2:DescribeInstances").Resources[0].ARN != "*" {
		t.Error("a list is asked about something else than *")
	}
}

func TestControl(t *testing.T) {
	k := newKit(t, nil)
	server := httptest.NewServer(k.cloud.Control())
	defer server.Close()
	i := k.launched(nil)
	get := func(path string, into any) {
		t.Helper()
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	var inventory ec2sim.Inventory
	get("/", &inventory)
	here := inventory.Accounts[0].Regions[0]
	var kinds []string
	for _, r := range here.Resources {
		kinds = append(kinds, r.Kind)
	}
	slices.Sort(kinds)
	if here.Region != region || !slices.Equal(kinds, []string{"instance", "network-interface", "volume"}) || !slices.Equal(here.Machines, []string{*i.InstanceId}) {
		t.Errorf("inventory %+v", inventory)
	}
	post := func(path, body string) (int, string) {
		resp, err := http.Post(server.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	if status, text := post("/faults", `{"kind": "capacity", "from": "1s", "until": "1m"}`); status != 200 || !strings.Contains(text, `"until": "1m0s"`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := post("/faults", `{"kind": "capacitor"}`); status != 400 {
		t.Errorf("a wrong fault: %d", status)
	}
	if status, _ := post("/reset-faults", ""); status != 204 || len(k.cloud.Faults()) != 0 {
		t.Errorf("reset: %d", status)
	}
	var log []ec2sim.Request
	get("/requests", &log)
	if len(log) == 0 || log[0].Op != "RunInstances" || k.cloud.CountRequests("RunInstances") != 1 {
		t.Errorf("log %+v", log)
	}
}

// TestInABubble lives through hours in no time.
func TestInABubble(t *testing.T) {
	disk := t.TempDir()
	account := ec2sim.NewAccount("build")
	synctest.Test(t, func(t *testing.T) {
		base := disk + "/base.qcow2"
		if err := writeDisk(base); err != nil {
			t.Fatal(err)
		}
		cloud, err := ec2sim.New(ec2sim.Config{Accounts: []*ec2sim.Account{account}, Driver: stillDriver{}, WorkDir: disk, Offline: true,
			Images: ec2sim.DebianImages(base), Delays: ec2sim.RealisticDelays()})
		if err != nil {
			t.Fatal(err)
		}
		http := simnet.Pipe(cloud)
		defer func() {
			http.CloseIdleConnections()
			if err := cloud.Close(); err != nil {
				t.Error(err)
			}
		}()
		client := ec2.New(ec2.Options{Region: region, HTTPClient: simnet.Whole{Client: http}, Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, "")})
		if err := cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Until: ec2sim.Duration(6 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		ami := cloud.ImageID(region, debian)
		in := &ec2.RunInstancesInput{ImageId: &ami, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
		begun, tries := time.Now(), 0
		var out *ec2.RunInstancesOutput
		for ; ; tries++ {
			if out, err = client.RunInstances(t.Context(), in); err == nil {
				break
			}
			wantError(t, err, 500, "InsufficientInstanceCapacity", "")
			time.Sleep(10 * time.Minute)
		}
		if waited := time.Since(begun); waited < 6*time.Hour || tries < 30 {
			t.Errorf("%d tries in %s", tries, waited)
		}
		wait := ec2.NewInstanceRunningWaiter(client)
		if err := wait.Wait(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{*out.Instances[0].InstanceId}}, time.Hour); err != nil {
			t.Error(err)
		}
		// One that was terminated is described for an hour.
		ids := []string{*out.Instances[0].InstanceId}
		if _, err := client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		found, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids})
		if err != nil || found.Reservations[0].Instances[0].State.Name != types.InstanceStateNameTerminated {
			t.Errorf("within the hour: %+v, %v", found, err)
		}
		time.Sleep(11 * time.Minute)
		_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids})
		wantError(t, err, 400, "InvalidInstanceID.NotFound", ids[0])
		if left := cloud.Left(); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}
