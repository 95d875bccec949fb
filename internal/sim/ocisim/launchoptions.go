// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"slices"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// launchOptions are the devices of a machine.
type launchOptions struct {
	BootVolumeType         string `json:"bootVolumeType,omitempty"`
	Firmware               string `json:"firmware,omitempty"`
	NetworkType            string `json:"networkType,omitempty"`
	RemoteDataVolumeType   string `json:"remoteDataVolumeType,omitempty"`
	PVEncryption           *bool  `json:"isPvEncryptionInTransitEnabled,omitempty"` // deprecated form of the next one
	Encryption             *bool  `json:"isEncryptionInTransitEnabled,omitempty"`
	ConsistentVolumeNaming *bool  `json:"isConsistentVolumeNamingEnabled,omitempty"`
}

// paravirtualized are the launch options of all current images.
func paravirtualized(firmware machine.Firmware) launchOptions {
	no := false
	return launchOptions{BootVolumeType: "PARAVIRTUALIZED", Firmware: string(firmware), NetworkType: "PARAVIRTUALIZED",
		RemoteDataVolumeType: "PARAVIRTUALIZED", PVEncryption: &no, ConsistentVolumeNaming: &no}
}

func launchModes() []string {
	return []string{"NATIVE", "EMULATED", "PARAVIRTUALIZED", "ACCELERATEDPV", "CUSTOM"}
}

// inMode are the options of a launch mode, as the SDK describes the modes. The
// firmware is the image's own in each; CUSTOM changes nothing by itself.
func (o launchOptions) inMode(mode string) launchOptions {
	switch mode {
	case "NATIVE":
		o.BootVolumeType, o.RemoteDataVolumeType, o.NetworkType = "ISCSI", "ISCSI", "VFIO"
	case "EMULATED":
		o.BootVolumeType, o.RemoteDataVolumeType, o.NetworkType = "SCSI", "SCSI", "E1000"
	case "PARAVIRTUALIZED", "ACCELERATEDPV":
		o.BootVolumeType, o.RemoteDataVolumeType, o.NetworkType = "PARAVIRTUALIZED", "PARAVIRTUALIZED", mode
	}
	return o
}

// with lets the options that are given prevail.
func (o launchOptions) with(given launchOptions) launchOptions {
	for _, f := range []struct{ into, value *string }{
		{&o.BootVolumeType, &given.BootVolumeType}, {&o.Firmware, &given.Firmware},
		{&o.NetworkType, &given.NetworkType}, {&o.RemoteDataVolumeType, &given.RemoteDataVolumeType},
	} {
		if *f.value != "" {
			*f.into = *f.value
		}
	}
	for _, f := range []struct{ into, value **bool }{
		{&o.PVEncryption, &given.PVEncryption}, {&o.Encryption, &given.Encryption},
		{&o.ConsistentVolumeNaming, &given.ConsistentVolumeNaming},
	} {
		if *f.value != nil {
			*f.into = *f.value
		}
	}
	return o
}

// imageOptions are how an image's machines start: the image's own options, and
// what its capability schema says about the image in particular.
func (c *Cloud) imageOptions(img *image) launchOptions {
	own := launchOptions{}
	texts := map[string]*string{
		"Compute.Firmware": &own.Firmware, "Storage.BootVolumeType": &own.BootVolumeType,
		"Network.AttachmentType": &own.NetworkType, "Storage.RemoteDataVolumeType": &own.RemoteDataVolumeType,
	}
	for key, d := range c.capabilities(img) {
		var text string
		var truth bool
		switch {
		case json.Unmarshal(d.Default, &text) == nil && text != "":
			if into := texts[key]; into != nil {
				*into = text
			}
		case key == "Storage.ConsistentVolumeNaming" && json.Unmarshal(d.Default, &truth) == nil && !absent(d.Default):
			own.ConsistentVolumeNaming = &truth
		}
	}
	return img.body.LaunchOptions.with(own)
}

// capability is one entry of an image's own capability schema.
type capability struct {
	Source  string          `json:"source"`
	Values  []string        `json:"values"`
	Default json.RawMessage `json:"defaultValue"`
}

// capabilities are those that an image's schema sets for the image alone.
func (c *Cloud) capabilities(img *image) map[string]capability {
	found := map[string]capability{}
	for _, s := range c.schemas.all() {
		if s.deleted || s.body.ImageID != img.body.ID {
			continue
		}
		for key, raw := range s.body.SchemaData {
			var d capability
			if json.Unmarshal(raw, &d) == nil && d.Source == "IMAGE" {
				found[key] = d
			}
		}
	}
	return found
}

// planOptions works out the devices of a launch. Firmware cannot be chosen;
// machines with Arm processors have no emulated devices, and accelerated
// paravirtualized networking only in shapes that are not simulated.
func (c *Cloud) planOptions(_ *call, p *launchPlan) error {
	d := p.details
	usual := c.imageOptions(p.image)
	asked := orElse(d.LaunchOptions, launchOptions{})
	if asked.Firmware != "" && asked.Firmware != usual.Firmware {
		return errInvalid("Firmware %s cannot be overridden at launch", asked.Firmware)
	}
	capabilities := c.capabilities(p.image)
	for _, allowed := range []struct{ key, value string }{
		{"Storage.BootVolumeType", asked.BootVolumeType}, {"Network.AttachmentType", asked.NetworkType},
		{"Storage.RemoteDataVolumeType", asked.RemoteDataVolumeType},
	} {
		has, set := capabilities[allowed.key]
		if allowed.value != "" && set && !slices.Contains(has.Values, allowed.value) { // our wording
			return errInvalid("Image %s does not have the capability %s %s", p.image.body.ID, allowed.key, allowed.value)
		}
	}
	encrypted := d.PVEncryption
	for _, also := range []*bool{asked.PVEncryption, asked.Encryption} {
		switch {
		case encrypted == nil:
			encrypted = also
		case also != nil && *also != *encrypted: // our wording
			return errInvalid("The request says both that in-transit encryption is enabled and that it is not")
		}
	}
	p.options = usual.with(asked)
	if encrypted != nil {
		p.options.PVEncryption = encrypted
	}
	p.mode = p.image.body.LaunchMode
	if asked != (launchOptions{}) && p.options != usual {
		p.mode = "CUSTOM"
	}
	if !p.spec.arm() {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{"bootVolumeType", p.options.BootVolumeType}, {"networkType", p.options.NetworkType},
		{"remoteDataVolumeType", p.options.RemoteDataVolumeType},
	} {
		if oneOf(f.value, []string{"SCSI", "IDE", "E1000", "ACCELERATEDPV"}) { // our wording
			return errInvalid("Shape %s does not support %s %s", p.spec.name, f.name, f.value)
		}
	}
	return nil
}
