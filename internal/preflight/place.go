// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Place,Origin,Checks,CheckedPlace,VerifyMachine

// Package preflight is the part of a template that names a destination of a copy,
// and the look at it before anything is built.
//
// A copy that cannot work must not be learned of after hours of waiting for
// capacity. The post-processor, the builders' check_destination blocks and the
// data source armfree-preflight describe a destination in the same words and
// look at it in the same way.
package preflight

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Place is a tenancy and region into which images are copied. What is left out
// comes from environment variables whose names begin with `PROD_`:
// `PROD_OCI_TENANCY_OCID`, and so on.
type Place struct {
	ocicfg.Access `mapstructure:",squash"`
	// The compartment of the new image. Defaults to the environment variable
	// `PROD_OCI_COMPARTMENT_OCID` if the tenancy is the environment's too, else
	// to the tenancy.
	CompartmentOCID string `mapstructure:"compartment_ocid" required:"false"`
	// Defined tags of the new image as JSON, as `jsonencode` makes it:
	// `{"namespace": {"key": "value"}}`. The namespaces and keys must exist in the
	// destination's tenancy, which is looked at before anything is started.
	DefinedTagsJSON string `mapstructure:"defined_tags_json" required:"false"`

	credentials oci.Credentials
	tags        oci.DefinedTags
}

// Prepare fills in what the template leaves out and returns every problem. block
// is put before the names of options in messages ("destination[1]."). It makes no
// request.
func (p *Place) Prepare(block string) (bad []error) {
	p.credentials, bad = p.Access.Prepare(block, "PROD_")
	// The environment's compartment is in the environment's tenancy.
	if p.CompartmentOCID == "" && (p.TenancyOCID == "" || p.TenancyOCID == os.Getenv("PROD_OCI_TENANCY_OCID")) {
		p.CompartmentOCID = os.Getenv("PROD_OCI_COMPARTMENT_OCID")
	}
	p.CompartmentOCID = cmp.Or(p.CompartmentOCID, p.TenancyOCID)
	tags, err := definedTags(block+"defined_tags_json", p.DefinedTagsJSON)
	if err != nil {
		bad = append(bad, err)
	}
	p.tags = tags
	return bad
}

// Credentials are who signs in; they are known after Prepare.
func (p *Place) Credentials() oci.Credentials { return p.credentials }

// Importer is the destination for somebody who is signed in; what a copy needs
// beside it is the caller's to add.
func (p *Place) Importer(who *oci.Principal) (*oci.Importer, error) {
	c, err := who.Client(who.Region)
	if err != nil {
		return nil, err
	}
	return &oci.Importer{Client: c, Label: label(who), Compartment: cmp.Or(p.CompartmentOCID, who.Tenancy), DefinedTags: p.tags}, nil
}

// label names a destination: its region and the end of its tenancy's OCID.
func label(who *oci.Principal) string {
	t := who.Tenancy
	if i := strings.LastIndexByte(t, '.'); i >= 0 {
		t = t[i+1:]
	}
	if len(t) > 8 {
		t = "..." + t[len(t)-8:]
	}
	return who.Region + " (tenancy " + t + ")"
}

// definedTags reads tags from JSON.
func definedTags(option, text string) (oci.DefinedTags, error) {
	if text == "" || tmpl.Unknown(text) {
		return nil, nil
	}
	var tags oci.DefinedTags
	if err := json.Unmarshal([]byte(text), &tags); err != nil {
		return nil, fmt.Errorf("%s must be a JSON object of namespaces with keys and values, such as {\"namespace\": {\"key\": \"value\"}}: %w", option, err)
	}
	var errs []error
	for _, namespace := range slices.Sorted(maps.Keys(tags)) {
		for _, key := range slices.Sorted(maps.Keys(tags[namespace])) {
			switch tags[namespace][key].(type) {
			case string, bool, float64:
			default:
				errs = append(errs, fmt.Errorf("%s: the value of %s.%s must be a text, a number or a truth value, not a list, an object or null", option, namespace, key))
			}
		}
	}
	return tags, errors.Join(errs...)
}
