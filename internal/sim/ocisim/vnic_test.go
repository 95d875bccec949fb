// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/workrequests"
)

// group makes a network security group in a VCN of the build tenancy.
func (k *kit) group(vcn string) string {
	k.t.Helper()
	resp, err := k.network(k.build, homeRegion).CreateNetworkSecurityGroup(context.Background(), core.CreateNetworkSecurityGroupRequest{
		CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{CompartmentId: &k.build.CompartmentID, VcnId: &vcn}})
	if err != nil {
		k.t.Fatal(err)
	}
	return *resp.Id
}

// vnicOf is an instance's network interface, once it is attached.
func (k *kit) vnicOf(instance string) core.Vnic {
	k.t.Helper()
	var id *string
	c := k.compute(k.build, homeRegion)
	eventually(k.t, "the VNIC is attached", func() bool {
		list, err := c.ListVnicAttachments(context.Background(), core.ListVnicAttachmentsRequest{CompartmentId: &k.build.CompartmentID, InstanceId: &instance})
		if err != nil || len(list.Items) != 1 {
			k.t.Fatalf("attachments: %+v, %v", list.Items, err)
		}
		id = list.Items[0].VnicId
		return id != nil
	})
	resp, err := k.network(k.build, homeRegion).GetVnic(context.Background(), core.GetVnicRequest{VnicId: id})
	if err != nil {
		k.t.Fatal(err)
	}
	return resp.Vnic
}

// TestNSG goes through the life of a network security group.
func TestNSG(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.network(k.build, homeRegion)
	vcn := k.build.VCNID(homeRegion)
	made, err := c.CreateNetworkSecurityGroup(ctx, core.CreateNetworkSecurityGroupRequest{
		CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{CompartmentId: &k.build.ChildCompartmentID, VcnId: &vcn,
			DisplayName: common.String("ssh"), FreeformTags: map[string]string{"a": "b"}}})
	if err != nil || made.LifecycleState != core.NetworkSecurityGroupLifecycleStateAvailable || *made.VcnId != vcn || made.FreeformTags["a"] != "b" {
		t.Fatalf("made %+v, %v", made.NetworkSecurityGroup, err)
	}
	list := func(compartment string) []core.NetworkSecurityGroup {
		got, err := c.ListNetworkSecurityGroups(ctx, core.ListNetworkSecurityGroupsRequest{CompartmentId: &compartment, VcnId: &vcn, DisplayName: common.String("ssh")})
		if err != nil {
			t.Fatal(err)
		}
		return got.Items
	}
	if here, above := list(k.build.ChildCompartmentID), list(k.build.CompartmentID); len(here) != 1 || len(above) != 0 {
		t.Errorf("listed %+v and %+v", here, above)
	}
	if left := k.home().SecurityGroups; len(left) != 1 || left[0].ID != *made.Id {
		t.Errorf("the inventory has %+v", left)
	}
	updated, err := c.UpdateNetworkSecurityGroup(ctx, core.UpdateNetworkSecurityGroupRequest{NetworkSecurityGroupId: made.Id, IfMatch: made.Etag,
		UpdateNetworkSecurityGroupDetails: core.UpdateNetworkSecurityGroupDetails{DisplayName: common.String("renamed")}})
	if err != nil || *updated.DisplayName != "renamed" {
		t.Errorf("updated %+v, %v", updated.NetworkSecurityGroup, err)
	}

	i, err := k.compute(k.build, homeRegion).LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.CreateVnicDetails.NsgIds = []string{*made.Id}
	}))
	if err != nil {
		t.Fatal(err)
	}
	remove := core.DeleteNetworkSecurityGroupRequest{NetworkSecurityGroupId: made.Id}
	_, err = c.DeleteNetworkSecurityGroup(ctx, remove)
	wantServiceError(t, err, 409, "IncorrectState", "cannot be deleted since it still has vnics attached to it")
	vnic := k.vnicOf(*i.Id)
	members, err := c.ListNetworkSecurityGroupVnics(ctx, core.ListNetworkSecurityGroupVnicsRequest{NetworkSecurityGroupId: made.Id})
	if err != nil || len(members.Items) != 1 || *members.Items[0].VnicId != *vnic.Id {
		t.Errorf("members %+v, %v", members.Items, err)
	}
	compute := k.compute(k.build, homeRegion)
	k.reaches(compute, *i.Id, core.InstanceLifecycleStateRunning)
	if _, err := compute.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id}); err != nil {
		t.Fatal(err)
	}
	k.reaches(compute, *i.Id, core.InstanceLifecycleStateTerminated)
	if _, err := c.DeleteNetworkSecurityGroup(ctx, remove); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetNetworkSecurityGroup(ctx, core.GetNetworkSecurityGroupRequest{NetworkSecurityGroupId: made.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	if left := k.home().SecurityGroups; len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestNSGRefused has what clients get wrong about groups themselves.
func TestNSGRefused(t *testing.T) {
	k := newKit(t, nil)
	mine := k.group(k.build.VCNID(homeRegion))
	body := func(compartment, vcn, more string) string {
		return fmt.Sprintf(`{"compartmentId":%q,"vcnId":%q%s}`, compartment, vcn, more)
	}
	own, vcn := k.build.CompartmentID, k.build.VCNID(homeRegion)
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"no VCN", "POST", "", fmt.Sprintf(`{"compartmentId":%q}`, own), 400, "MissingParameter"},
		{"somebody's VCN", "POST", "", body(own, k.stranger.VCNID(homeRegion), ""), 404, "NotAuthorizedOrNotFound"},
		{"another region's VCN", "POST", "", body(own, k.build.VCNID("us-phoenix-1"), ""), 404, "NotAuthorizedOrNotFound"},
		{"somebody's compartment", "POST", "", body(k.stranger.CompartmentID, vcn, ""), 404, "NotAuthorizedOrNotFound"},
		{"a field it does not have", "POST", "", body(own, vcn, `,"securityRules":[]`), 400, "CannotParseRequest"},
		{"an empty name", "POST", "", body(own, vcn, `,"displayName":""`), 400, "InvalidParameter"},
		{"list of nothing", "GET", "", "", 400, "InvalidParameter"},
		{"list of both", "GET", "?compartmentId=" + own + "&vlanId=x", "", 400, "InvalidParameter"},
		{"list of a VLAN", "GET", "?vlanId=x", "", 404, "NotAuthorizedOrNotFound"},
		{"list in a state that is none", "GET", "?compartmentId=" + own + "&lifecycleState=ACTIVE", "", 400, "InvalidParameter"},
		{"list of somebody's VCN", "GET", "?compartmentId=" + own + "&vcnId=" + k.stranger.VCNID(homeRegion), "", 404, "NotAuthorizedOrNotFound"},
		{"unknown", "GET", "/ocid1.networksecuritygroup.oc1.iad.no", "", 404, "NotAuthorizedOrNotFound"},
		{"members sorted otherwise", "GET", "/" + mine + "/vnics?sortBy=TIMECREATED", "", 400, "InvalidParameter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, answer, _ := k.rawFor(k.build, tc.method, iaas+"/networkSecurityGroups"+tc.path, tc.body).send(k)
			if status != tc.status || !strings.Contains(answer, tc.code) {
				t.Errorf("got %d %s, want %d %s", status, answer, tc.status, tc.code)
			}
		})
	}
	_, err := k.network(k.stranger, homeRegion).GetNetworkSecurityGroup(context.Background(), core.GetNetworkSecurityGroupRequest{NetworkSecurityGroupId: &mine})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestVnicDetails: GetVnic shows what the launch asked for.
func TestVnicDetails(t *testing.T) {
	k := newKit(t, nil)
	k.build.TagNamespaces = map[string][]string{"Operations": {"CostCenter"}}
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	groups := []string{k.group(k.build.VCNID(homeRegion)), k.group(k.build.VCNID(homeRegion))}
	ask := core.CreateVnicDetails{SubnetId: common.String(k.build.PrivateSubnetID(homeRegion)), AssignPublicIp: common.Bool(false),
		AssignPrivateDnsRecord: common.Bool(true), DisplayName: common.String("vnic: one"), HostnameLabel: common.String("3builder-1"),
		NsgIds: groups, PrivateIp: common.String("127.80.7.9"), SkipSourceDestCheck: common.Bool(true),
		FreeformTags: map[string]string{"a": ""}, DefinedTags: map[string]map[string]any{"Operations": {"CostCenter": "42"}}}
	i, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.CreateVnicDetails = &ask }))
	if err != nil {
		t.Fatal(err)
	}
	v := k.vnicOf(*i.Id)
	got := core.CreateVnicDetails{SubnetId: v.SubnetId, AssignPublicIp: common.Bool(v.PublicIp != nil), AssignPrivateDnsRecord: ask.AssignPrivateDnsRecord,
		DisplayName: v.DisplayName, HostnameLabel: v.HostnameLabel, NsgIds: v.NsgIds, PrivateIp: v.PrivateIp,
		SkipSourceDestCheck: v.SkipSourceDestCheck, FreeformTags: v.FreeformTags, DefinedTags: v.DefinedTags}
	if !reflect.DeepEqual(got, ask) {
		t.Errorf("got  %+v\nwant %+v", got, ask)
	}
	ips, err := k.network(k.build, homeRegion).ListPrivateIps(ctx, core.ListPrivateIpsRequest{VnicId: v.Id})
	if err != nil || len(ips.Items) != 1 || *ips.Items[0].IpAddress != "127.80.7.9" || *ips.Items[0].HostnameLabel != "3builder-1" {
		t.Errorf("private addresses: %+v, %v", ips.Items, err)
	}
	// It is where the machine listens.
	k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	if at := k.driver.last().spec.SSH; !strings.HasPrefix(at, "127.80.7.9:") {
		t.Errorf("the machine listens at %s", at)
	}
	// What nobody asked for.
	plain := k.vnicOf(*k.launched().Id)
	if plain.HostnameLabel != nil || *plain.SkipSourceDestCheck || len(plain.NsgIds) != 0 || plain.PublicIp == nil {
		t.Errorf("a plain VNIC is %+v", plain)
	}
}

// TestVnicRefused has what is refused before anything exists.
func TestVnicRefused(t *testing.T) {
	k := newKit(t, nil)
	mine, elsewhere := k.group(k.build.VCNID(homeRegion)), k.group(k.build.EmptyVCNID(homeRegion))
	many := make([]string, 6)
	for n := range many {
		many[n] = k.group(k.build.VCNID(homeRegion))
	}
	other := k.build.PrivateSubnetID(homeRegion)
	set := func(change func(v *core.CreateVnicDetails)) func(*core.LaunchInstanceDetails) {
		return func(d *core.LaunchInstanceDetails) { change(d.CreateVnicDetails) }
	}
	hostname := func(label string) func(*core.LaunchInstanceDetails) {
		return set(func(v *core.CreateVnicDetails) { v.HostnameLabel = &label })
	}
	address := func(ip string) func(*core.LaunchInstanceDetails) {
		return set(func(v *core.CreateVnicDetails) { v.PrivateIp = &ip })
	}
	groups := func(ids ...string) func(*core.LaunchInstanceDetails) {
		return set(func(v *core.CreateVnicDetails) { v.NsgIds = ids })
	}
	for _, tc := range []struct {
		name   string
		change func(*core.LaunchInstanceDetails)
		status int
		part   string
	}{
		{"a group that is not there", groups("ocid1.networksecuritygroup.oc1.iad.no"), 404, ""},
		{"a group of another VCN", groups(mine, elsewhere), 400, "not in the VCN of subnet"},
		{"a group twice", groups(mine, mine), 400, "twice"},
		{"six groups", groups(many...), 400, "at most 5"},
		{"a name with a dot", hostname("builder.example"), 400, "hostnameLabel"},
		{"a name with an underscore", hostname("the_builder"), 400, "hostnameLabel"},
		{"a name that begins with a hyphen", hostname("-builder"), 400, "hostnameLabel"},
		{"a name that ends with a hyphen", hostname("builder-"), 400, "hostnameLabel"},
		{"a name of 64 letters", hostname(strings.Repeat("a", 64)), 400, "hostnameLabel"},
		{"no name at all", hostname(""), 400, "hostnameLabel"},
		{"a name without a record", set(func(v *core.CreateVnicDetails) {
			v.HostnameLabel, v.AssignPrivateDnsRecord = common.String("x"), common.Bool(false)
		}), 400, "Hostname x is provided when AssignPrivateDnsRecord is false"},
		{"two names", func(d *core.LaunchInstanceDetails) {
			d.HostnameLabel, d.CreateVnicDetails.HostnameLabel = common.String("a"), common.String("b")
		}, 400, "do not match"},
		{"two subnets", func(d *core.LaunchInstanceDetails) { d.SubnetId = &other }, 400, "do not match"},
		{"an address elsewhere", address("10.0.0.9"), 400, "not within the CIDR block"},
		{"an address that is none", address("127.80.0.256"), 400, "not an IPv4 address"},
		{"an address of IPv6", address("::1"), 400, "not an IPv4 address"},
		{"the network's address", address("127.80.0.0"), 400, "reserved"},
		{"the router's address", address("127.80.0.1"), 400, "reserved"},
		{"the last address", address("127.80.255.255"), 400, "reserved"},
		{"an address and a block", set(func(v *core.CreateVnicDetails) {
			v.PrivateIp, v.SubnetCidr = common.String("127.80.0.9"), common.String("127.80.0.0/16")
		}), 400, "subnetCidr"},
		{"a block elsewhere", set(func(v *core.CreateVnicDetails) { v.SubnetCidr = common.String("10.0.0.0/24") }), 400, "10.0.0.0/24"},
		{"a reserved address that is not there", set(func(v *core.CreateVnicDetails) { v.PrivateIpId = common.String("ocid1.privateip.oc1.iad.no") }), 404, ""},
		{"a VLAN", set(func(v *core.CreateVnicDetails) { v.VlanId = common.String("ocid1.vlan.oc1.iad.no") }), 404, ""},
		{"an address of IPv6 of any kind", set(func(v *core.CreateVnicDetails) { v.AssignIpv6Ip = common.Bool(true) }), 400, "IPv6"},
		{"an empty name", set(func(v *core.CreateVnicDetails) { v.DisplayName = common.String("") }), 400, "displayName"},
		{"an eleventh tag", set(func(v *core.CreateVnicDetails) {
			v.FreeformTags = map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": "", "h": "", "i": "", "j": "", "k": ""}
		}), 400, "10 freeform tags"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := k.compute(k.build, homeRegion).LaunchInstance(context.Background(), k.launchRequest(tc.change))
			code := map[int]string{400: "InvalidParameter", 404: "NotAuthorizedOrNotFound"}[tc.status]
			wantServiceError(t, err, tc.status, code, tc.part)
		})
	}
	if left := k.home(); len(left.Instances)+len(left.BootVolumes) != 0 {
		t.Errorf("a refused launch left something: %+v", left)
	}
}

// TestVnicInUse: an address or a name that another machine has is found out
// only after the launch was accepted; it is free again when that one is gone.
func TestVnicInUse(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	launch := func(ip, host *string) core.LaunchInstanceResponse {
		resp, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
			d.CreateVnicDetails.PrivateIp, d.CreateVnicDetails.HostnameLabel = ip, host
		}))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	ip, host := common.String("127.80.0.3"), common.String("Builder")
	first := launch(ip, host)
	k.reaches(c, *first.Id, core.InstanceLifecycleStateRunning)
	for part, second := range map[string]core.LaunchInstanceResponse{
		"A problem occurred while preparing the instance's VNIC.  (Hostname builder is already used in subnet " + k.build.SubnetID(homeRegion): launch(nil, common.String("builder")),
		"(Private IP 127.80.0.3 is already in use": launch(ip, nil),
	} {
		k.reaches(c, *second.Id, core.InstanceLifecycleStateTerminated)
		w := k.work(k.build, homeRegion)
		if got := k.workEnds(w, second.OpcWorkRequestId); got.Status != workrequests.WorkRequestStatusFailed {
			t.Errorf("the work request is %s", got.Status)
		}
		why, err := w.ListWorkRequestErrors(ctx, workrequests.ListWorkRequestErrorsRequest{WorkRequestId: second.OpcWorkRequestId})
		if err != nil || len(why.Items) != 1 || !strings.Contains(*why.Items[0].Message, part) {
			t.Errorf("errors: %+v, %v, want %q", why.Items, err, part)
		}
	}
	// An address that is taken is not given to another one by chance.
	seen := map[string]bool{*ip: true}
	for range 3 {
		v := k.vnicOf(*k.launched().Id)
		if seen[*v.PrivateIp] {
			t.Errorf("%s is given out twice", *v.PrivateIp)
		}
		seen[*v.PrivateIp] = true
	}
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: first.Id}); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *first.Id, core.InstanceLifecycleStateTerminated)
	k.reaches(c, *launch(ip, host).Id, core.InstanceLifecycleStateRunning)
}
