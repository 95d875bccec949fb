// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// wrapAll puts several wraps around a cloud, the first outermost.
func wrapAll(wraps ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		for _, w := range slices.Backward(wraps) {
			h = w(h)
		}
		return h
	}
}

// decoys are things that nobody may touch: of others, and of a build that goes on.
type decoys struct {
	names []string // how the inventories call them
}

// plant makes them, in both clouds. They are needed for longer than the clock of a
// sweep is ahead.
func plant(t *testing.T, s *stage.Stage) *decoys {
	t.Helper()
	alive := owner.NewBuild(time.Now(), 20*24*time.Hour)
	d := &decoys{}
	o, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(common.NewRawConfigurationProvider(
		s.Build.ID, s.Build.UserID, stage.BuildRegion, s.Build.Fingerprint(), s.Build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	o.HTTPClient = s.Net.Client()
	bucket := stage.BucketName
	for _, name := range []string{"theirs.txt", "armfree-theirs"} {
		if _, err := o.PutObject(t.Context(), objectstorage.PutObjectRequest{
			NamespaceName: &s.Build.Namespace, BucketName: &bucket, ObjectName: &name, ContentLength: common.Int64(1), PutObjectBody: io.NopCloser(strings.NewReader("x")),
		}); err != nil {
			t.Fatal(err)
		}
		d.names = append(d.names, bucket+"/"+name)
	}
	for _, name := range []string{"theirs", alive.Name(owner.RoleImport)} {
		if _, err := o.CreatePreauthenticatedRequest(t.Context(), objectstorage.CreatePreauthenticatedRequestRequest{
			NamespaceName: &s.Build.Namespace, BucketName: &bucket, CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{
				Name: &name, ObjectName: common.String("theirs.txt"), AccessType: objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread,
				TimeExpires: &common.SDKTime{Time: time.Now().Add(30 * 24 * time.Hour)},
			},
		}); err != nil {
			t.Fatal(err)
		}
		d.names = append(d.names, name)
	}
	e := ec2.New(ec2.Options{
		Region: stage.AWSRegion, HTTPClient: s.Net.Client(), Credentials: credentials.NewStaticCredentialsProvider(s.AWS.Build.AccessKeyID, s.AWS.Build.SecretAccessKey, ""),
	})
	for name, tag := range map[string]string{"theirs": "", "alive": alive.Tag(owner.RoleGroup).String()} {
		in := &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("d")}
		if tag != "" {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeSecurityGroup, Tags: []types.Tag{{Key: aws.String(owner.Key), Value: &tag}}}}
		}
		g, err := e.CreateSecurityGroup(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		d.names = append(d.names, *g.GroupId)
	}
	if len(s.Left()) != len(d.names) {
		t.Fatalf("%q is there, and not %q", s.Left(), d.names)
	}
	return d
}

func (d *decoys) is(line string) bool {
	return slices.ContainsFunc(d.names, func(n string) bool { return slices.Contains(strings.Fields(line), n) })
}

// without is a list of what is left without the decoys.
func (d *decoys) without(left []string) []string {
	return slices.DeleteFunc(slices.Clone(left), d.is)
}

// check sees whether all of them are still there, and the images of others.
func (d *decoys) check(t *testing.T, s *stage.Stage) {
	t.Helper()
	left := s.Left()
	for _, n := range d.names {
		if !slices.ContainsFunc(left, func(line string) bool { return slices.Contains(strings.Fields(line), n) }) {
			t.Errorf("%s is gone, which is not this build's", n)
		}
	}
	all := fmt.Sprint(s.Cloud.Inventory())
	if !strings.Contains(all, s.Foreign) || !strings.Contains(all, s.BaseImage) {
		t.Error("an image of others is gone")
	}
}

// machines are those that run or come up, in both clouds.
func machines(s *stage.Stage) (ids []string) {
	for _, t := range s.Cloud.Inventory().Tenancies {
		for _, r := range t.Regions {
			for _, x := range r.Instances {
				if x.State != "TERMINATING" && x.State != "TERMINATED" {
					ids = append(ids, x.ID)
				}
			}
		}
	}
	for _, a := range s.AWS.Cloud.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.Kind == "instance" && x.State != "shutting-down" && x.State != "terminated" {
					ids = append(ids, x.ID)
				}
			}
		}
	}
	return ids
}

// matrix is what came of all runs.
type matrix struct {
	sizes []string

	mu   sync.Mutex
	cell map[string]map[string]string // by request and mishap
	rows []string
}

func (m *matrix) add(cloud string, n int, op, mishap, outcome string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := fmt.Sprintf("%s %3d %s", cloud, n, op)
	if m.cell == nil {
		m.cell = map[string]map[string]string{}
	}
	if m.cell[row] == nil {
		m.cell[row] = map[string]string{}
		m.rows = append(m.rows, row)
	}
	m.cell[row][mishap] = outcome
}

// String is the matrix, and its sums.
func (m *matrix) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	slices.Sort(m.rows)
	for i, x := range mishaps() {
		fmt.Fprintf(&b, "%c = %s\n", 'A'+i, x.name)
	}
	b.WriteString(". went on to the end   x ended, nothing left   n left and named   s removed by one sweep   - did not come so far   ! wrong   blank: not tried\n\n")
	fmt.Fprintf(&b, "%-46s", "request")
	for i := range mishaps() {
		fmt.Fprintf(&b, " %c", 'A'+i)
	}
	b.WriteString("\n")
	sums := map[string]map[string]int{}
	for _, row := range m.rows {
		fmt.Fprintf(&b, "%-46s", row)
		for _, x := range mishaps() {
			o := m.cell[row][x.name]
			fmt.Fprintf(&b, " %1s", o)
			if key := row[:3] + " " + x.name; o != "" {
				if sums[key] == nil {
					sums[key] = map[string]int{}
				}
				sums[key][o]++
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| cloud | mishap | runs | went on to the end | ended, nothing left | left and named | removed by one sweep | not reached | wrong |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, cloud := range []string{"oci", "aws"} {
		for _, x := range mishaps() {
			s := sums[cloud+" "+x.name]
			if s == nil {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d |\n", cloud, x.name, s["."]+s["x"]+s["n"]+s["s"]+s["-"]+s["!"], s["."], s["x"], s["n"], s["s"], s["-"], s["!"])
		}
	}
	return b.String() + "\n" + strings.Join(m.sizes, "\n") + "\n"
}
