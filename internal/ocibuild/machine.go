// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// BaseImageFilter finds the newest image that is `AVAILABLE` and meets all
// conditions, in every region in which the machine is looked for.
type BaseImageFilter struct {
	// The compartment of the image. Defaults to `compartment_ocid`. Platform
	// images are seen from every compartment.
	CompartmentID string `mapstructure:"compartment_id" required:"false"`
	// The whole name of the image.
	DisplayName string `mapstructure:"display_name" required:"false"`
	// A regular expression (Go's) that matches the name of the image.
	DisplayNameSearch string `mapstructure:"display_name_search" required:"false"`
	// The operating system, such as `Canonical Ubuntu`. OCI has no platform image
	// of Debian: import one and name it by `base_image_ocid`.
	OperatingSystem string `mapstructure:"operating_system" required:"false"`
	// The version of the operating system, such as `24.04`.
	OperatingSystemVersion string `mapstructure:"operating_system_version" required:"false"`
	// A shape on which the image can start. Defaults to the shape of the machine,
	// which tells ARM64 images from others.
	Shape string `mapstructure:"shape" required:"false"`
}

// CreateVnicDetails describes the network interface of the machine.
type CreateVnicDetails struct {
	// Whether the machine gets a public address, like `assign_public_ip`.
	AssignPublicIP config.Trilean `mapstructure:"assign_public_ip" required:"false"`
	// The name of the VNIC.
	DisplayName string `mapstructure:"display_name" required:"false"`
	// The name of the machine in the subnet's DNS.
	HostnameLabel string `mapstructure:"hostname_label" required:"false"`
	// The OCIDs of network security groups, at most five.
	NsgIDs []string `mapstructure:"nsg_ids" required:"false"`
	// A free private address of the subnet.
	PrivateIP string `mapstructure:"private_ip" required:"false"`
	// Whether the VNIC may send what is not from its own address.
	SkipSourceDestCheck config.Trilean `mapstructure:"skip_source_dest_check" required:"false"`
	// The subnet, like `subnet_ocid`.
	SubnetID string `mapstructure:"subnet_id" required:"false"`
	// Freeform tags of the VNIC, at most ten.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// Defined tags of the VNIC as JSON: `jsonencode({ namespace = { key = "value" } })`.
	DefinedTagsJSON string `mapstructure:"defined_tags_json" required:"false"`
	// JSON templates: the same as a map.
	DefinedTags map[string]map[string]interface{} `mapstructure:"defined_tags" mapstructure-to-hcl2:",skip" undocumented:"true"`
}

// Machine describes the machine on which the image is built.
type Machine struct {
	// The image from which the machine starts. Defaults to the environment
	// variable `OCI_BASE_IMAGE_OCID`, unless there is a `base_image_filter`. For
	// an Ampere shape it must start by `UEFI_64`.
	BaseImageOCID string `mapstructure:"base_image_ocid" required:"false"`
	// Finds the image from which the machine starts. Is not used if
	// `base_image_ocid` is set. See [`base_image_filter`](#base_image_filter).
	BaseImageFilter BaseImageFilter `mapstructure:"base_image_filter" required:"false"`
	// The size of the boot volume in GB, from 50 to 16384. Defaults to the size
	// of the base image.
	BootVolumeSizeInGBs int64 `mapstructure:"disk_size" required:"false"`
	// The performance of the boot volume in volume performance units (VPUs) per
	// GB: 10 is balanced, 20 is higher performance, up to 120 in steps of 10.
	// Defaults to OCI's own, which is 10.
	BootVolumeVpusPerGB int64 `mapstructure:"boot_volume_vpus_per_gb" required:"false"`
	// The OCID of the Vault key that encrypts the boot volume. Defaults to a key
	// of Oracle's.
	KmsKeyOCID string `mapstructure:"kms_key_ocid" required:"false"`
	// The subnet to which the machine is connected. Defaults to the environment
	// variable `OCI_SUBNET_OCID`.
	SubnetOCID string `mapstructure:"subnet_ocid" required:"false"`
	// Whether the machine gets a public address. Defaults to what the subnet
	// does. With `false`, and a NAT or service gateway for its way out, set
	// `use_private_ip` too and run Packer where that address can be reached, or
	// let the build in by `oci_bastion`.
	AssignPublicIP config.Trilean `mapstructure:"assign_public_ip" required:"false"`
	// Connect to the machine's private address. Defaults to `false`, which
	// means the public address if there is one.
	UsePrivateIP bool `mapstructure:"use_private_ip" required:"false"`
	// The network interface of the machine. See
	// [`create_vnic_details`](#create_vnic_details).
	CreateVnicDetails CreateVnicDetails `mapstructure:"create_vnic_details" required:"false"`
	// The name of the machine while it exists. Defaults to a name that OCI
	// makes up.
	InstanceName string `mapstructure:"instance_name" required:"false"`
	// Freeform tags of the machine, at most nine. Values may be empty. One tag
	// more, `armfree`, says which build made it and until when it is needed.
	InstanceTags map[string]string `mapstructure:"instance_tags" required:"false"`
	// Defined tags of the machine as JSON: `jsonencode({ namespace = { key =
	// "value" } })`.
	InstanceDefinedTagsJSON string `mapstructure:"instance_defined_tags_json" required:"false"`
	// JSON templates: the same as a map.
	InstanceDefinedTags map[string]map[string]interface{} `mapstructure:"instance_defined_tags" mapstructure-to-hcl2:",skip" undocumented:"true"`
	// Metadata of the machine. `ssh_authorized_keys` is added to what the
	// builder needs, not replaced. `user_data` must be in base64 here, and excludes
	// the option `user_data`.
	Metadata map[string]string `mapstructure:"metadata" required:"false"`
	// User data for cloud-init. Plain text is encoded as OCI wants it; what is
	// the base64 of cloud-init's formats, of JSON (Ignition) or of other text
	// already, as `base64encode(...)` makes it, is sent as it is.
	UserData string `mapstructure:"user_data" required:"false"`
	// The path of a file with user data. Excludes `user_data`.
	UserDataFile string `mapstructure:"user_data_file" required:"false"`
	// Give the machine a host key of this build's through cloud-init, and connect
	// to nothing else: the first connection then cannot be taken over. The key is
	// added to the user data. It is in the image, where cloud-init makes new ones
	// at the first start of a machine and keeps the old user data; a provisioner
	// that runs `cloud-init clean` removes that. Needs an image with cloud-init,
	// and user data of a kind that cloud-init knows. Defaults to `false`.
	PinHostKey bool `mapstructure:"ssh_pin_host_key" required:"false"`
	// How long the machine may run at most: then it powers itself off, even if
	// nothing of Packer is left, and costs no more than its disk until a sweep
	// removes it. A part that is added to the user data sees to that, at each start
	// of the machine and of no machine that is made of the image. At least `30m`.
	// Defaults to `24h`, where the user data is of a kind that something can be
	// added to. Unverified against the real service.
	MachineLifetime time.Duration `mapstructure:"machine_lifetime" required:"false"`
	// Do not set that timer, and send the user data as it is. Defaults to `false`.
	SkipMachineLifetime bool `mapstructure:"skip_machine_lifetime" required:"false"`
	// Ends a build that went well as soon as OCI has accepted to terminate the
	// machine, and does not wait until it is TERMINATED and its boot volume is
	// gone: half a minute to a minute less. Until then the machine counts: the
	// next build may not find room for one in an Always Free account. A build
	// that fails or is cancelled waits all the same. Defaults to `false`.
	SkipTerminationWait bool `mapstructure:"skip_termination_wait" required:"false"`
	// Whether the machine's metadata can only be read by the second version of
	// the metadata service, which asks for a header. Defaults to `true`.
	LegacyImdsDisabled config.Trilean `mapstructure:"instance_options_are_legacy_imds_endpoints_disabled" required:"false"`
	// Let the plugins of Oracle Cloud Agent run on the machine while it is built.
	// They install and update packages, and get in the way of provisioners that
	// do. Defaults to `false`. The image is not concerned.
	AgentPlugins bool `mapstructure:"agent_plugins" required:"false"`

	untimed string // why there is no timer although none was forbidden
}

// prepare checks everything that can be checked without a request.
func (m *Machine) prepare() (userData []byte, list []error) {
	note := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				list = append(list, err)
			}
		}
	}
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	v := &m.CreateVnicDetails
	// Two names for the same thing, as oracle-oci has them.
	switch {
	case m.SubnetOCID == "":
		m.SubnetOCID = v.SubnetID
	case v.SubnetID != "" && v.SubnetID != m.SubnetOCID && !tmpl.Unknown(v.SubnetID+m.SubnetOCID):
		bad("create_vnic_details: subnet_id is %s, and subnet_ocid is %s", v.SubnetID, m.SubnetOCID)
	}
	switch {
	case m.AssignPublicIP == config.TriUnset:
		m.AssignPublicIP = v.AssignPublicIP
	case v.AssignPublicIP != config.TriUnset && v.AssignPublicIP != m.AssignPublicIP:
		bad("assign_public_ip is %t, and that of create_vnic_details is %t", m.AssignPublicIP.True(), v.AssignPublicIP.True())
	}
	if m.SubnetOCID == "" {
		m.SubnetOCID = os.Getenv("OCI_SUBNET_OCID")
	}
	if m.SubnetOCID == "" {
		bad("subnet_ocid must be set (or the environment variable OCI_SUBNET_OCID)")
	}
	note(ocicfg.OCID("subnet_ocid", "subnet", m.SubnetOCID))

	f := &m.BaseImageFilter
	if m.BaseImageOCID == "" && !f.set() {
		m.BaseImageOCID = os.Getenv("OCI_BASE_IMAGE_OCID")
	}
	if m.BaseImageOCID == "" && !f.set() {
		bad("base_image_ocid or base_image_filter must be set (or the environment variable OCI_BASE_IMAGE_OCID)")
	}
	note(ocicfg.OCID("base_image_ocid", "image", m.BaseImageOCID), ocicfg.Compartment("base_image_filter: compartment_id", f.CompartmentID))
	if _, err := regexp.Compile(f.DisplayNameSearch); err != nil && !tmpl.Unknown(f.DisplayNameSearch) {
		bad("base_image_filter: display_name_search is no regular expression: %w", err)
	}

	if d := m.BootVolumeSizeInGBs; d != 0 && (d < 50 || d > 16384) {
		bad("disk_size must be from 50 to 16384 GB, it is %d", d)
	}
	if n := m.BootVolumeVpusPerGB; n != 0 && (n < 10 || n > 120 || n%10 != 0) {
		bad("boot_volume_vpus_per_gb must be from 10 to 120 in steps of 10, it is %d", n)
	}
	note(ocicfg.OCID("kms_key_ocid", "key", m.KmsKeyOCID))
	if len(v.NsgIDs) > 5 {
		bad("create_vnic_details: OCI allows five network security groups, there are %d", len(v.NsgIDs))
	}
	for i, id := range v.NsgIDs {
		if slices.Contains(v.NsgIDs[:i], id) && !tmpl.Unknown(id) {
			bad("create_vnic_details: nsg_ids: %s is there twice", id)
		}
		note(ocicfg.OCID("create_vnic_details: nsg_ids", "networksecuritygroup", id))
	}
	if ip, err := netip.ParseAddr(v.PrivateIP); (err != nil || !ip.Is4()) && v.PrivateIP != "" && !tmpl.Unknown(v.PrivateIP) {
		bad("create_vnic_details: private_ip must be an IPv4 address, it is %q", v.PrivateIP)
	}
	for _, n := range []struct{ option, name string }{{"instance_name", m.InstanceName}, {"create_vnic_details: display_name", v.DisplayName}} {
		if utf8.RuneCountInString(n.name) > maxName {
			bad("%s must not be longer than %d characters", n.option, maxName)
		}
	}
	if l := v.HostnameLabel; l != "" && !tmpl.Unknown(l) && !label.MatchString(l) {
		bad("create_vnic_details: hostname_label must have 1 to 63 letters, digits and hyphens, and begin with a letter or digit: %q", l)
	}
	note(owner.CheckTags("instance_tags", m.InstanceTags), owner.CheckOthersTags("create_vnic_details: tags", v.Tags))
	note(parseTags("instance_defined_tags", m.InstanceDefinedTagsJSON, &m.InstanceDefinedTags), parseTags("create_vnic_details: defined_tags", v.DefinedTagsJSON, &v.DefinedTags))
	userData, err := m.readUserData()
	note(err)
	return userData, list
}

// label is a name in DNS.
var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// set says whether there is a filter.
func (f BaseImageFilter) set() bool {
	return f != BaseImageFilter{}
}

// parseTags reads defined tags from JSON into tags, which JSON templates set
// directly.
func parseTags(option, text string, tags *map[string]map[string]interface{}) error {
	switch {
	case text == "":
		return checkTagValues(option, *tags)
	case tmpl.Unknown(text):
		return nil
	case len(*tags) > 0:
		return fmt.Errorf("%s and %s_json exclude each other", option, option)
	}
	if err := json.Unmarshal([]byte(text), tags); err != nil {
		return fmt.Errorf("%s_json must be a JSON object of namespaces with keys and values, such as {\"namespace\": {\"key\": \"value\"}}: %w", option, err)
	}
	return checkTagValues(option+"_json", *tags)
}

// checkTagValues says which values of defined tags OCI does not take. For those
// of an image it would say so when the build is nearly over.
func checkTagValues(option string, tags map[string]map[string]interface{}) error {
	var errs []error
	for _, namespace := range slices.Sorted(maps.Keys(tags)) {
		for _, key := range slices.Sorted(maps.Keys(tags[namespace])) {
			if text, ok := tags[namespace][key].([]byte); ok { // as Packer may hand a JSON template's over
				tags[namespace][key] = string(text)
			}
			switch reflect.ValueOf(tags[namespace][key]).Kind() {
			case reflect.String, reflect.Bool, reflect.Float64, reflect.Float32, reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint64:
			default:
				errs = append(errs, fmt.Errorf("%s: the value of %s.%s must be a text, a number or a truth value, not a list, an object or null", option, namespace, key))
			}
		}
	}
	return errors.Join(errs...)
}

// maxUserData is how much OCI takes of all metadata together.
const maxUserData = 32000

func (m *Machine) readUserData() ([]byte, error) {
	if tmpl.Unknown(m.UserData + m.UserDataFile) {
		return nil, nil // a build will tell
	}
	data := []byte(m.UserData)
	if m.UserDataFile != "" {
		if m.UserData != "" {
			return nil, errors.New("user_data and user_data_file exclude each other")
		}
		b, err := os.ReadFile(m.UserDataFile)
		if err != nil {
			return nil, fmt.Errorf("user_data_file cannot be read: %w", err)
		}
		data = b
	}
	if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data))); err == nil && userData(plain) {
		data = plain
	}
	raw, inMetadata := m.Metadata[userDataKey]
	inMetadata = inMetadata && !tmpl.Unknown(raw)
	var plain []byte
	if inMetadata {
		if len(data) > 0 {
			return nil, errors.New("user_data (or user_data_file) and the user_data of metadata exclude each other: they are the same thing for the machine")
		}
		var err error
		if plain, err = base64.StdEncoding.DecodeString(strings.TrimSpace(raw)); err != nil {
			return nil, errors.New("metadata: user_data must be in base64, as base64encode() makes it; plain text is for the option user_data")
		}
		data = plain
	}
	if err := m.settleLifetime(data); err != nil {
		return nil, err
	}
	switch {
	case inMetadata && (m.PinHostKey || m.MachineLifetime > 0): // something is added to it
		m.Metadata = maps.Clone(m.Metadata)
		delete(m.Metadata, userDataKey)
	case inMetadata:
		data = nil
	}
	if m.PinHostKey {
		if err := sshkey.CheckUserData(data); err != nil {
			return nil, err
		}
	}
	return data, checkMetadata(data, m.Metadata)
}

// checkMetadata sees whether it is more than OCI takes.
func checkMetadata(userData []byte, metadata map[string]string) error {
	size := base64.StdEncoding.EncodedLen(len(userData))
	for k, v := range metadata {
		size += len(k) + len(v)
	}
	if size > maxUserData {
		return fmt.Errorf("user data and metadata have %d bytes when encoded, OCI takes at most %d", size, maxUserData)
	}
	return nil
}

// userDataKey is what OCI calls user data among the metadata.
const userDataKey = "user_data"

// userData says whether what base64 was decoded to is user data: what cloud-init
// takes, Ignition's or other JSON, or any text of lines and words. A word that
// happens to be base64 decodes to none of that.
func userData(b []byte) bool {
	if slices.ContainsFunc([]string{"#", "Content-Type:", "MIME-Version:", "From ", "\x1f\x8b"}, func(start string) bool {
		return bytes.HasPrefix(b, []byte(start))
	}) {
		return true
	}
	text := string(b)
	odd := func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }
	if len(b) == 0 || !utf8.Valid(b) || strings.ContainsFunc(text, odd) {
		return false
	}
	return strings.ContainsAny(text[:1], "{[<") || strings.ContainsFunc(text, unicode.IsSpace)
}

// launch is the machine in the adapter's terms.
func (m *Machine) launch(userData []byte) oci.MachineConfig {
	v := m.CreateVnicDetails
	f := m.BaseImageFilter
	c := oci.MachineConfig{
		BaseImage: m.BaseImageOCID, DiskGB: m.BootVolumeSizeInGBs, DiskVPUs: m.BootVolumeVpusPerGB, KMSKey: m.KmsKeyOCID,
		Subnet: m.SubnetOCID, AssignPublicIP: m.AssignPublicIP.ToBoolPointer(), UsePrivateIP: m.UsePrivateIP,
		VNICName: v.DisplayName, Hostname: v.HostnameLabel, NSGs: v.NsgIDs, PrivateIP: v.PrivateIP,
		SkipSourceDestCheck: v.SkipSourceDestCheck.ToBoolPointer(), VNICTags: v.Tags, VNICDefinedTags: v.DefinedTags,
		InstanceName: m.InstanceName, InstanceTags: m.InstanceTags, InstanceDefinedTags: m.InstanceDefinedTags,
		Metadata: m.Metadata, UserData: userData,
		LegacyIMDS: m.LegacyImdsDisabled.False(), AgentPlugins: m.AgentPlugins,
	}
	if m.BaseImageOCID == "" {
		c.ImageFilter = &oci.ImageFilter{
			Compartment: f.CompartmentID, Name: f.DisplayName, NameSearch: f.DisplayNameSearch,
			OS: f.OperatingSystem, OSVersion: f.OperatingSystemVersion, Shape: f.Shape,
		}
	}
	return c
}
