// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"cmp"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// SourceAMIFilter finds the image from which the machine starts, in every region
// in which one is looked for. Its architecture is that of the instance types,
// whether a filter says so or not.
type SourceAMIFilter struct {
	Filter `mapstructure:",squash"`
	// Whose images count: ids of accounts, `self`, `amazon` or `aws-marketplace`.
	// Needed, unless `source_ami` is set. `136693071363` is Debian.
	Owners []string `mapstructure:"owners" required:"false"`
	// Take the newest of several images. Without it several are a mistake.
	MostRecent bool `mapstructure:"most_recent" required:"false"`
	// Look among deprecated images as well. Defaults to `false`.
	IncludeDeprecated bool `mapstructure:"include_deprecated" required:"false"`
}

// MetadataOptions are those of the metadata service of the machine while it is
// built. The image is not concerned; see `imds_support`.
type MetadataOptions struct {
	// Whether there is a metadata service: `enabled` or `disabled`. Defaults to
	// `enabled`. Without it the machine gets neither user data nor a key.
	HTTPEndpoint string `mapstructure:"http_endpoint" required:"false"`
	// Whether it asks for a token, which is its second version: `required` or
	// `optional`. Defaults to `required`.
	HTTPTokens string `mapstructure:"http_tokens" required:"false"`
	// How many hops a token may travel, from 1 to 64. Containers need 2. Defaults
	// to `1`.
	HTTPPutResponseHopLimit int64 `mapstructure:"http_put_response_hop_limit" required:"false"`
	// Whether the machine's tags are in its metadata: `enabled` or `disabled`.
	// Defaults to `disabled`.
	InstanceMetadataTags string `mapstructure:"instance_metadata_tags" required:"false"`
}

// Placement is where a machine is put beside its zone.
type Placement struct {
	// `default`, `dedicated` or `host`.
	Tenancy string `mapstructure:"tenancy" required:"false"`
	// A dedicated host.
	HostID string `mapstructure:"host_id" required:"false"`
	// The ARN of a group of dedicated hosts.
	HostResourceGroupARN string `mapstructure:"host_resource_group_arn" required:"false"`
}

// PolicyDocument is a policy of IAM.
type PolicyDocument struct {
	// The version of the policy language. Defaults to `2012-10-17`.
	Version string `mapstructure:"Version" required:"false"`
	// What is allowed. The block may be repeated.
	Statement []Statement `mapstructure:"Statement" required:"false"`
}

// Statement is one statement of a policy.
type Statement struct {
	// `Allow` or `Deny`. Defaults to `Allow`.
	Effect string `mapstructure:"Effect" required:"false"`
	// The actions, such as `s3:GetObject`.
	Action []string `mapstructure:"Action" required:"false"`
	// The ARNs of what they are for.
	Resource []string `mapstructure:"Resource" required:"false"`
}

// Machine describes the machine on which the image is built.
type Machine struct {
	// The image from which the machine starts. `resolve:ssm:` and the name of a
	// parameter stand for `source_ami_ssm_parameter`. Defaults to the environment
	// variable `AWS_SOURCE_AMI`, unless one of the next two options is set.
	SourceAMI string `mapstructure:"source_ami" required:"false"`
	// Finds the image from which the machine starts. With `source_ami` beside it,
	// that image must meet the filter. See
	// [`source_ami_filter`](#source_ami_filter).
	SourceAMIFilter SourceAMIFilter `mapstructure:"source_ami_filter" required:"false"`
	// The name of a parameter of SSM that holds the id of the image, in every
	// region, such as `/aws/service/debian/release/12/latest/arm64`. Excludes the
	// two options above.
	SourceAMISSMParameter string `mapstructure:"source_ami_ssm_parameter" required:"false"`

	// The size of the root volume in GiB, unless `launch_block_device_mappings`
	// has one for it. Defaults to `10`, or to the size of the source image if that
	// is more.
	RootVolumeSize int64 `mapstructure:"root_volume_size" required:"false"`
	// The type of the root volume, likewise: `gp3`, `gp2` or `standard`. Others
	// need a block of their own, for their `iops`. Defaults to `gp3`.
	RootVolumeType string `mapstructure:"root_volume_type" required:"false"`
	// The devices of the machine beside the root volume, or in its place. See
	// [Block devices](#block-devices).
	LaunchBlockDeviceMappings []BlockDevice `mapstructure:"launch_block_device_mappings" required:"false"`

	// The IAM instance profile of the machine, by name or ARN.
	IAMInstanceProfile string `mapstructure:"iam_instance_profile" required:"false"`
	// Do not ask IAM whether the profile exists. Defaults to `false`.
	SkipProfileValidation bool `mapstructure:"skip_profile_validation" required:"false"`
	// A policy: a role and an instance profile with it are made for the build, and
	// removed at its end. Excludes `iam_instance_profile`. See
	// [`temporary_iam_instance_profile_policy_document`](#temporary_iam_instance_profile_policy_document).
	TemporaryPolicy *PolicyDocument `mapstructure:"temporary_iam_instance_profile_policy_document" required:"false"`
	// User data for cloud-init. What is the base64 of user data already, as
	// `base64encode(...)` makes it, is sent as it is. EC2 takes 16 KB. The
	// builder adds up to 2 KB; where that is too much, or the data is of a kind
	// that nothing can be added to, the key of the build becomes a key pair and
	// `machine_lifetime` does not end the machine.
	UserData string `mapstructure:"user_data" required:"false"`
	// The path of a file with user data. Excludes `user_data`.
	UserDataFile string `mapstructure:"user_data_file" required:"false"`
	// The metadata service of the machine. See
	// [`metadata_options`](#metadata_options).
	Metadata MetadataOptions `mapstructure:"metadata_options" required:"false"`

	// What becomes of the machine when it shuts down by itself: `terminate` or
	// `stop`. Defaults to `terminate`, so that a machine that everybody has
	// forgotten costs nothing, and to `stop` with `disable_stop_instance`.
	// amazon-ebs has `stop`.
	ShutdownBehavior string `mapstructure:"shutdown_behavior" required:"false"`
	// How long the machine may live at most: then it shuts down by itself, even if
	// nothing of Packer is left. Its user data sees to that. At least `30m`.
	// Defaults to `24h`.
	MachineLifetime time.Duration `mapstructure:"machine_lifetime" required:"false"`
	// Do not set that timer: the machine lives until the build, or a sweep, ends it.
	// Defaults to `false`.
	SkipMachineLifetime bool `mapstructure:"skip_machine_lifetime" required:"false"`
	// The last provisioner shuts the machine down, or begins to, so that the
	// builder only waits for that. Defaults to `false`. Not for spot machines: those
	// of a one-time request cannot be stopped (that they are terminated when they
	// shut down is unverified against the real service).
	DisableStopInstance bool `mapstructure:"disable_stop_instance" required:"false"`
	// Let a machine of a burstable type use more CPU credits than it has earned,
	// which costs money. A T4g machine without it has few credits when it starts.
	// Defaults to `false`.
	EnableUnlimitedCredits bool `mapstructure:"enable_unlimited_credits" required:"false"`
	// Where the machine is put beside its zone. See [`placement`](#placement).
	Placement Placement `mapstructure:"placement" required:"false"`
	// The same as `tenancy` in `placement`.
	Tenancy string `mapstructure:"tenancy" required:"false"`
	// Whether the machine may use an open capacity reservation: `open` or `none`.
	// Defaults to `none`.
	CapacityReservationPreference string `mapstructure:"capacity_reservation_preference" required:"false"`
	// The capacity reservation in which the machine is launched.
	CapacityReservationID string `mapstructure:"capacity_reservation_id" required:"false"`
	// The ARN of a group of capacity reservations.
	CapacityReservationGroupARN string `mapstructure:"capacity_reservation_group_arn" required:"false"`

	// How the machine is reached: `public_ip`, `private_ip`, `public_dns`,
	// `private_dns` or `ipv6`. Defaults to the public address if there is one, else
	// to the private one. See [Private subnets](#private-subnets).
	SSHInterface string `mapstructure:"ssh_interface" required:"false"`
	// Those of Session Manager, which this builder does not speak.
	SessionManagerPort int           `mapstructure:"session_manager_port" undocumented:"true"`
	PauseBeforeSSM     time.Duration `mapstructure:"pause_before_ssm" undocumented:"true"`
	// How the key of this build gets to the machine where there is no
	// `ssh_keypair_name`: by `user_data`, which needs cloud-init and no
	// permission, or as a `key_pair` of EC2 that is removed at the end. Defaults to
	// `user_data`, or to `key_pair` with user data that nothing can be added to.
	SSHKeyDelivery string `mapstructure:"ssh_key_delivery" required:"false"`
	// Give the machine a host key of this build's through cloud-init, and connect
	// to nothing else: the first connection then cannot be taken over. Needs an
	// image with cloud-init, and user data of a kind that can be added to. Defaults
	// to `false`.
	PinHostKey bool `mapstructure:"ssh_pin_host_key" required:"false"`

	source  ec2.SourceConfig
	policy  string // JSON
	mixable bool   // the user data can be added to
	tooLong bool   // its user data leaves no room for the builder's parts
}

const resolveSSM = "resolve:ssm:"

func (m *Machine) prepare(n *notes, s *Search) {
	m.prepareSource(n, s)
	m.prepareRoot(n)
	m.LaunchBlockDeviceMappings = n.devices("launch_block_device_mappings", m.LaunchBlockDeviceMappings)
	if m.TemporaryPolicy != nil && m.IAMInstanceProfile != "" && len(m.TemporaryPolicy.Statement) > 0 {
		n.bad("iam_instance_profile and temporary_iam_instance_profile_policy_document exclude each other")
	}
	m.preparePolicy(n)
	d := &m.Metadata
	n.oneOf("metadata_options: http_endpoint", d.HTTPEndpoint, "enabled", "disabled")
	n.oneOf("metadata_options: http_tokens", d.HTTPTokens, "required", "optional")
	n.oneOf("metadata_options: instance_metadata_tags", d.InstanceMetadataTags, "enabled", "disabled")
	if l := d.HTTPPutResponseHopLimit; l < 0 || l > 64 {
		n.bad("metadata_options: http_put_response_hop_limit must be from 1 to 64, it is %d", l)
	}
	if d.HTTPEndpoint == "disabled" && d.InstanceMetadataTags == "enabled" {
		n.bad("metadata_options: instance_metadata_tags needs http_endpoint = \"enabled\"")
	}
	d.HTTPPutResponseHopLimit = cmp.Or(d.HTTPPutResponseHopLimit, 1)
	n.oneOf("shutdown_behavior", m.ShutdownBehavior, "stop", "terminate")
	if m.DisableStopInstance && m.ShutdownBehavior == "terminate" {
		n.bad("disable_stop_instance waits for a machine that has stopped, and shutdown_behavior = \"terminate\" leaves none")
	}
	if m.ShutdownBehavior == "" {
		if m.ShutdownBehavior = "terminate"; m.DisableStopInstance {
			m.ShutdownBehavior = "stop"
		}
	}
	m.preparePlacement(n, s)
	n.oneOf("ssh_interface", m.SSHInterface, "public_ip", "private_ip", "public_dns", "private_dns", "ipv6", sessionManager)
	m.refuseSessions(n)
}

const sessionManager = "session_manager"

// refuseSessions says so where a template reaches its machine by Session Manager.
func (m *Machine) refuseSessions(n *notes) {
	if m.SSHInterface == sessionManager {
		n.bad("ssh_interface = %q is not supported: run Packer where the private address can be reached and set it to \"private_ip\", or set ssh_bastion_host", sessionManager)
		return
	}
	var names []string
	if m.SessionManagerPort != 0 {
		names = append(names, "session_manager_port")
	}
	if m.PauseBeforeSSM != 0 {
		names = append(names, "pause_before_ssm")
	}
	for _, name := range names {
		n.warn("%s has no effect: it is for Session Manager", name)
	}
}

// prepareSource settles which image the machine starts from.
func (m *Machine) prepareSource(n *notes, s *Search) {
	f := &m.SourceAMIFilter
	f.Owners = set(f.Owners)
	from := "source_ami"
	if m.SourceAMI == "" && m.SourceAMISSMParameter == "" && !f.set() {
		if m.SourceAMI = os.Getenv("AWS_SOURCE_AMI"); m.SourceAMI != "" {
			from = "the environment variable AWS_SOURCE_AMI"
		}
	}
	parameter := m.SourceAMISSMParameter
	if name, ok := strings.CutPrefix(m.SourceAMI, resolveSSM); ok {
		if parameter != "" && parameter != name {
			n.bad("source_ami and source_ami_ssm_parameter exclude each other")
		}
		m.SourceAMI, parameter = "", name
	} else if parameter != "" {
		from = "source_ami_ssm_parameter"
	}
	switch {
	case m.SourceAMI == "" && parameter == "" && !f.set():
		if len(f.Owners) > 0 || f.MostRecent {
			n.bad("source_ami_filter needs filters, such as name")
			break
		}
		n.bad("source_ami, source_ami_filter or source_ami_ssm_parameter must be set (or the environment variable AWS_SOURCE_AMI)")
	case parameter != "" && (m.SourceAMI != "" || f.set()):
		n.bad("source_ami_ssm_parameter excludes source_ami and source_ami_filter")
	case m.SourceAMI == "" && f.set() && len(f.Owners) == 0:
		n.bad("source_ami_filter: owners must be set: anybody can make an image of that name")
	}
	if m.SourceAMI == "" && f.set() {
		from = "source_ami_filter"
	}
	n.id(from, "ami", m.SourceAMI)
	if strings.ContainsAny(parameter, " \t") {
		n.bad("source_ami_ssm_parameter must be the name of a parameter, it is %q", parameter)
	}
	m.source = ec2.SourceConfig{ID: m.SourceAMI, Parameter: parameter, From: from}
	if f.set() {
		m.source.Filter = &ec2.ImageFilter{Filters: f.values(), Owners: f.Owners, MostRecent: f.MostRecent, IncludeDeprecated: f.IncludeDeprecated}
	}
	for _, r := range s.AdditionalRegions {
		if r.SourceAMI == "" && m.SourceAMI != "" {
			n.bad("additional_region: source_ami must be set for %s: an image belongs to one region", r.Region)
		}
	}
}

// preparePolicy makes JSON of the policy of a temporary role.
func (m *Machine) preparePolicy(n *notes) {
	if m.TemporaryPolicy == nil || len(m.TemporaryPolicy.Statement) == 0 {
		return
	}
	d := *m.TemporaryPolicy
	d.Version = cmp.Or(d.Version, "2012-10-17")
	d.Statement = append([]Statement(nil), d.Statement...)
	for i := range d.Statement {
		s := &d.Statement[i]
		s.Effect = cmp.Or(s.Effect, "Allow")
		n.oneOf("temporary_iam_instance_profile_policy_document: Effect", s.Effect, "Allow", "Deny")
		if len(set(s.Action)) == 0 || len(set(s.Resource)) == 0 {
			n.bad("temporary_iam_instance_profile_policy_document: every Statement needs Action and Resource")
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		n.bad("temporary_iam_instance_profile_policy_document: %w", err)
	}
	m.policy = string(text)
}

func (m *Machine) preparePlacement(n *notes, s *Search) {
	p := &m.Placement
	if m.Tenancy != "" && p.Tenancy != "" && m.Tenancy != p.Tenancy {
		n.bad("tenancy is %q, and that of placement is %q", m.Tenancy, p.Tenancy)
	}
	p.Tenancy = cmp.Or(p.Tenancy, m.Tenancy)
	n.oneOf("placement: tenancy", p.Tenancy, "default", "dedicated", "host")
	if p.HostID != "" && p.HostResourceGroupARN != "" {
		n.bad("placement: host_id and host_resource_group_arn exclude each other")
	}
	if (p.HostID != "" || p.HostResourceGroupARN != "") && p.Tenancy != "" && p.Tenancy != "host" {
		n.bad("placement: a host needs tenancy = \"host\", it is %q", p.Tenancy)
	}
	n.id("placement: host_id", "h", p.HostID)
	n.oneOf("capacity_reservation_preference", m.CapacityReservationPreference, "open", "none")
	n.id("capacity_reservation_id", "cr", m.CapacityReservationID)
	reserved := m.CapacityReservationID != "" || m.CapacityReservationGroupARN != ""
	switch spot, only := s.spot(); {
	case m.CapacityReservationID != "" && m.CapacityReservationGroupARN != "":
		n.bad("capacity_reservation_id and capacity_reservation_group_arn exclude each other")
	case reserved && m.CapacityReservationPreference != "":
		n.bad("capacity_reservation_preference and a reservation that is named exclude each other")
	case reserved && only, reserved && spot:
		n.bad("a capacity reservation is for machines on demand, and spot machines are asked for")
	case reserved && len(s.AdditionalRegions) > 0:
		n.bad("additional_region and a capacity reservation exclude each other: it belongs to one region")
	}
	if g := m.CapacityReservationGroupARN; g != "" && !strings.HasPrefix(g, "arn:") && !tmpl.Unknown(g) {
		n.bad("capacity_reservation_group_arn must be an ARN, it is %q", g)
	}
	if !reserved {
		m.CapacityReservationPreference = cmp.Or(m.CapacityReservationPreference, "none")
	}
}
