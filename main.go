// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Packer-plugin-armfree builds ARM64 images on free cloud capacity. This file
// registers its components, hands over the commands capacity and sweep, and does nothing else;
// Packer names each
// "<local name>-<component>", so with armfree as the local name they are armfree,
// armfree-oci, armfree-goss and armfree-oci-cross-tenancy-copy.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/plugin"

	"github.com/armfree/packer-plugin-armfree/builder/aws"
	"github.com/armfree/packer-plugin-armfree/builder/either"
	"github.com/armfree/packer-plugin-armfree/builder/oci"
	"github.com/armfree/packer-plugin-armfree/datasource/capacity"
	"github.com/armfree/packer-plugin-armfree/datasource/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/capacitycmd"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sweepcmd"
	ocicrosstenancycopy "github.com/armfree/packer-plugin-armfree/post-processor/oci-cross-tenancy-copy"
	"github.com/armfree/packer-plugin-armfree/provisioner/goss"
	"github.com/armfree/packer-plugin-armfree/version"
)

func main() {
	secrets := new(mask.Masker)
	log.SetOutput(secrets.Writer(os.Stderr))
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "capacity":
			os.Exit(capacitycmd.Main(context.Background(), secrets, os.Args[2:]))
		case "sweep":
			os.Exit(sweepcmd.Main(context.Background(), secrets, os.Args[2:]))
		}
	}

	line := lifeline.New()
	if len(os.Args) > 1 && os.Args[1] == "start" {
		defer line.Start(context.Background())()
	}
	set := plugin.NewSet()
	set.RegisterBuilder("oci", line.Builder(&oci.Builder{Mask: secrets}))
	set.RegisterBuilder("aws", line.Builder(&aws.Builder{Mask: secrets}))
	set.RegisterBuilder("ebs", line.Builder(&aws.Builder{Mask: secrets})) // for templates of amazon-ebs
	set.RegisterBuilder(plugin.DEFAULT_NAME, line.Builder(&either.Builder{Mask: secrets}))
	set.RegisterProvisioner("goss", new(goss.Provisioner))
	// With goss as the local name the default one is the provisioner "goss".
	set.RegisterProvisioner(plugin.DEFAULT_NAME, &goss.Provisioner{DropIn: true})
	set.RegisterPostProcessor("oci-cross-tenancy-copy", line.PostProcessor(&ocicrosstenancycopy.PostProcessor{
		Mask: secrets, Goss: func() packersdk.Provisioner { return new(goss.Provisioner) },
	}))
	set.RegisterDatasource("capacity", &capacity.Datasource{Mask: secrets})
	set.RegisterDatasource("preflight", &preflight.Datasource{Mask: secrets})
	set.SetVersion(version.Plugin())
	err := set.Run()
	line.Wait(context.Background()) // the connection to Packer is gone, what it asked for may be under way
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
