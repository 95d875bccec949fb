// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// defaultShape is that of machines whose template names none.
const defaultShape = "VM.Standard.A1.Flex"

const near, baseName = "eu-frankfurt-1", "debian"

// wireTenancy is made once, since RSA keys take long. Its key is a short one: half
// the time of these tests would go into signatures.
var wireTenancy = sync.OnceValues(func() (*ocisim.Tenancy, error) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, err
	}
	return ocisim.NewTenancyWithKey(key, "build", near, otherRegion)
})

// wireSet is a whole simulated cloud behind memory, so that a build against it
// takes no time inside a bubble of testing/synctest; and things of the user's
// that options can name.
type wireSet struct {
	*ocisim.Cloud
	build *ocisim.Tenancy
	http  *http.Client
	files string

	ads                            []string
	ubuntu                         string
	reservation, group, groupThere string
	bastion                        string
}

func newWireSet(t *testing.T) *wireSet {
	t.Helper()
	tenancy, err := wireTenancy()
	if err != nil {
		t.Fatal(err)
	}
	own := *tenancy
	own.Limits, own.TagNamespaces = map[string]int64{}, map[string][]string{"ns": {"k"}}
	s := &wireSet{build: &own, files: t.TempDir()}
	disk := filepath.Join(s.files, "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	base := ocisim.BaseImage{
		Name: baseName, OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build",
		Shapes: []string{defaultShape, otherShape, "VM.Standard2.1"}, // OCI gives x86 shapes to images that come from elsewhere
	}
	s.Cloud, err = ocisim.New(ocisim.Config{
		Tenancies: []*ocisim.Tenancy{s.build}, Driver: machine.Idle{}, WorkDir: s.files, Images: append(ocisim.PlatformImages(disk), base),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.http = simnet.Pipe(s.Cloud)
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s.ads = s.build.AvailabilityDomains(near)
	s.ubuntu = s.ImageID(s.build, near, "Canonical-Ubuntu-24.04-aarch64-2025.12.31-0")
	return s
}

// settings is a template for it.
func (s *wireSet) settings() options {
	return options{
		"tenancy_ocid": s.build.ID, "user_ocid": s.build.UserID, "fingerprint": s.build.Fingerprint(), "key": s.build.PrivateKeyPEM(),
		"region": near, "compartment_ocid": s.build.CompartmentID, "base_image_ocid": s.ImageID(s.build, near, baseName), "subnet_ocid": s.build.SubnetID(near),
		"assign_public_ip": true, "image_name": "built", "communicator": "none", "ssh_username": "debian", "skip_create_image": true, "capacity_timeout": "10m",
	}
}

// provider signs as the owner of the tenancy.
func (s *wireSet) provider(region string) common.ConfigurationProvider {
	return common.NewRawConfigurationProvider(s.build.ID, s.build.UserID, region, s.build.Fingerprint(), s.build.PrivateKeyPEM(), nil)
}

// furnish makes what options can name.
func (s *wireSet) furnish(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for region, id := range map[string]*string{near: &s.group, otherRegion: &s.groupThere} {
		c, err := core.NewVirtualNetworkClientWithConfigurationProvider(s.provider(region))
		must(err)
		c.HTTPClient = s.http
		r, err := c.CreateNetworkSecurityGroup(t.Context(), core.CreateNetworkSecurityGroupRequest{CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{
			CompartmentId: &s.build.CompartmentID, VcnId: common.String(s.build.VCNID(region)),
		}})
		must(err)
		*id = *r.Id
	}
	c, err := core.NewComputeClientWithConfigurationProvider(s.provider(near))
	must(err)
	c.HTTPClient = s.http
	r, err := c.CreateComputeCapacityReservation(t.Context(), core.CreateComputeCapacityReservationRequest{CreateComputeCapacityReservationDetails: core.CreateComputeCapacityReservationDetails{
		CompartmentId: &s.build.CompartmentID, AvailabilityDomain: &s.ads[1],
		InstanceReservationConfigs: []core.InstanceReservationConfigDetails{{
			InstanceShape: common.String(defaultShape), ReservedCount: common.Int64(1),
			InstanceShapeConfig: &core.InstanceReservationShapeConfigDetails{Ocpus: common.Float32(2), MemoryInGBs: common.Float32(12)},
		}},
	}})
	must(err)
	s.reservation = *r.Id
	b, err := bastion.NewBastionClientWithConfigurationProvider(s.provider(near))
	must(err)
	b.HTTPClient = s.http
	made, err := b.CreateBastion(t.Context(), bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
		BastionType: common.String("STANDARD"), CompartmentId: &s.build.CompartmentID, TargetSubnetId: common.String(s.build.PrivateSubnetID(near)),
		ClientCidrBlockAllowList: []string{"0.0.0.0/0"},
	}})
	must(err)
	s.bastion = *made.Id
	time.Sleep(10 * time.Minute) // of the bubble: they become active
}

// left lists the machines and images of builds that are still there.
func (s *wireSet) left() (list []string) {
	for _, r := range s.Inventory().Tenancies[0].Regions {
		for _, i := range r.Instances {
			list = append(list, i.ID)
		}
		for _, i := range r.Images {
			if i.FreeformTags["armfree"] != "" {
				list = append(list, i.ID)
			}
		}
	}
	return list
}
