// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Bastion lets the build in to a machine without a public address, from
// anywhere: by a session of an OCI Bastion, which is made, used and removed. An
// empty block is enough. Bastions cost nothing.
type Bastion struct {
	// A bastion that exists, in `region` and in the VCN of the machine. By
	// default one is made in the subnet of the machine and removed at the end of
	// the build. It is also made where the machine is found in an
	// `additional_region`.
	BastionOCID string `mapstructure:"bastion_ocid" required:"false"`
	// The blocks of IPv4 addresses from which the bastion that is made lets
	// somebody in, at most 20: where Packer runs, as the Internet sees it.
	// Defaults to `["0.0.0.0/0"]`, since a hosted runner does not know its
	// address beforehand; the key of the session is needed in any case.
	ClientCIDRBlocks []string `mapstructure:"client_cidr_blocks" required:"false"`
	// How long a session lasts, from `30m` to `3h`. Defaults to `3h`, or to what
	// the bastion allows if that is less. Provisioning may take longer: there is
	// another session then. One command or one transfer may not.
	SessionTTL time.Duration `mapstructure:"session_ttl" required:"false"`
	// How long it may take until the bastion is made, until a session is open,
	// and until the jump host lets the build in, each. Defaults to `10m`.
	Timeout time.Duration `mapstructure:"timeout" required:"false"`
	// Freeform tags of the bastion that is made, at most nine. One tag more,
	// `armfree`, says which build made it and until when it is needed.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// Defined tags of the bastion that is made as JSON: `jsonencode({ namespace =
	// { key = "value" } })`. Sessions have no tags.
	DefinedTagsJSON string `mapstructure:"defined_tags_json" required:"false"`
	// JSON templates: the same as a map.
	DefinedTags map[string]map[string]interface{} `mapstructure:"defined_tags" mapstructure-to-hcl2:",skip" undocumented:"true"`
}

// What OCI allows.
const (
	minSessionTTL, maxSessionTTL = 30 * time.Minute, 3 * time.Hour
	maxClientBlocks              = 20
)

// Prepare checks the block, which may be absent, and what it excludes; and sets
// what follows from it. The rest of the template is prepared.
func (b *Bastion) Prepare(o *Options, comm *communicator.Config) (list []error) {
	if b == nil {
		return nil
	}
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf("oci_bastion: "+format, a...)) }
	if err := ocicfg.OCID("oci_bastion: bastion_ocid", "bastion", b.BastionOCID); err != nil {
		list = append(list, err)
	}
	if b.BastionOCID != "" && len(b.ClientCIDRBlocks) > 0 && len(o.AdditionalRegions) == 0 {
		bad("client_cidr_blocks is for a bastion that is made, and bastion_ocid names one that exists and has a list of its own")
	}
	for _, err := range []error{owner.CheckTags("oci_bastion: tags", b.Tags), parseTags("oci_bastion: defined_tags", b.DefinedTagsJSON, &b.DefinedTags)} {
		if err != nil {
			list = append(list, err)
		}
	}
	if b.BastionOCID != "" && len(b.Tags)+len(b.DefinedTags) > 0 && len(o.AdditionalRegions) == 0 {
		bad("tags and defined_tags are for a bastion that is made, and bastion_ocid names one that exists and is left as it is")
	}
	if len(b.ClientCIDRBlocks) > maxClientBlocks {
		bad("client_cidr_blocks: OCI allows %d blocks, there are %d", maxClientBlocks, len(b.ClientCIDRBlocks))
	}
	for _, block := range b.ClientCIDRBlocks {
		p, err := netip.ParsePrefix(block)
		if tmpl.Unknown(block) {
			continue
		}
		if err != nil || !p.Addr().Is4() {
			bad("client_cidr_blocks must be blocks of IPv4 addresses such as 203.0.113.7/32, one is %q", block)
		} else if p != p.Masked() {
			bad("client_cidr_blocks: %s is not the beginning of a block, that would be %s", block, p.Masked())
		}
	}
	if d := b.SessionTTL; d != 0 && (d < minSessionTTL || d > maxSessionTTL) {
		bad("session_ttl must be from 30m to 3h, it is %s", d)
	}
	if err := buildcfg.CheckDuration("oci_bastion: timeout", b.Timeout, time.Second); err != nil {
		list = append(list, err)
	}
	if comm.Type != "ssh" {
		bad("communicator must be \"ssh\", it is %q", comm.Type)
	}
	if o.AssignPublicIP.True() {
		bad("assign_public_ip must be false: a machine with a public address is reached without a bastion")
	}
	for _, w := range []struct{ name, value string }{
		{"ssh_host", comm.SSHHost}, {"ssh_bastion_host", comm.SSHBastionHost}, {"ssh_proxy_host", comm.SSHProxyHost},
	} {
		if w.value != "" {
			list = append(list, errors.New("oci_bastion and "+w.name+" exclude each other: each is a way to the machine"))
		}
	}
	o.AssignPublicIP, o.UsePrivateIP = config.TriFalse, true
	if b.SessionTTL == 0 {
		b.SessionTTL = maxSessionTTL
	}
	if b.Timeout == 0 {
		b.Timeout = 10 * time.Minute
	}
	return list
}

// launch is the block in the adapter's terms; nil if it is absent. The bastion
// that is named is that of the main region.
func (b *Bastion) launch(main bool) *oci.BastionConfig {
	if b == nil {
		return nil
	}
	c := &oci.BastionConfig{Clients: b.ClientCIDRBlocks, SessionTTL: b.SessionTTL, Timeout: b.Timeout, Tags: b.Tags, DefinedTags: b.DefinedTags}
	if main {
		c.ID = b.BastionOCID
	}
	if len(c.Clients) == 0 {
		c.Clients = []string{"0.0.0.0/0"}
	}
	return c
}
