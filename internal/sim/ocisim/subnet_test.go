// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
)

// TestLocalSubnets: a subnet of one availability domain is of no use in
// another.
func TestLocalSubnets(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	ads := k.build.AvailabilityDomains(homeRegion)
	id := k.build.ADSubnetID(homeRegion, "AD-2")
	if id == "" || id != k.build.ADSubnetID(homeRegion, ads[1]) || id == k.build.ADSubnetID(homeRegion, "AD-1") {
		t.Fatalf("the subnet of AD-2 is %q", id)
	}
	for _, none := range []string{k.build.ADSubnetID(homeRegion, "AD-4"), k.build.ADSubnetID(homeRegion, ""), k.build.ADSubnetID("uk-london-1", "AD-1")} {
		if none != "" {
			t.Errorf("there is a subnet %s", none)
		}
	}
	network := k.network(k.build, homeRegion)
	one, err := network.GetSubnet(ctx, core.GetSubnetRequest{SubnetId: &id})
	if err != nil || one.AvailabilityDomain == nil || *one.AvailabilityDomain != ads[1] || *one.ProhibitPublicIpOnVnic {
		t.Errorf("subnet: %+v, %v", one.Subnet, err)
	}
	list, err := network.ListSubnets(ctx, core.ListSubnetsRequest{CompartmentId: &k.build.CompartmentID,
		SortBy: core.ListSubnetsSortByDisplayname, SortOrder: core.ListSubnetsSortOrderDesc})
	if err != nil || len(list.Items) != 5 || *list.Items[0].DisplayName != "subnet-public" {
		t.Fatalf("subnets: %+v, %v", list.Items, err)
	}
	for _, s := range list.Items {
		regional := *s.Id == k.build.SubnetID(homeRegion) || *s.Id == k.build.PrivateSubnetID(homeRegion)
		if regional != (s.AvailabilityDomain == nil) {
			t.Errorf("the availability domain of %s is %v", *s.DisplayName, s.AvailabilityDomain)
		}
	}
	c := k.compute(k.build, homeRegion)
	launch := func(ad int) (core.LaunchInstanceResponse, error) {
		return c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
			d.AvailabilityDomain, d.CreateVnicDetails = &ads[ad], &core.CreateVnicDetails{SubnetId: common.String(id)}
		}))
	}
	_, err = launch(0)
	wantServiceError(t, err, 400, "InvalidParameter", ads[1])
	if _, err := launch(1); err != nil {
		t.Error(err)
	}
}
