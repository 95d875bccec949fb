# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# One image, built by armfree-oci, into four places of three tenancies.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

variable "report" {
  type = string
}

variable "places" {
  type = list(object({ tenancy = string, user = string, fingerprint = string, key = string, region = string, compartment = string, name = string }))
}

source "armfree-oci" "test" {
  image_name        = "pipeline"
  ssh_username      = "debian"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  assign_public_ip  = true
  capacity_interval = "100ms"
}

build {
  sources = ["source.armfree-oci.test"]
  provisioner "shell" {
    inline = ["uname -m"]
  }
  post-processor "armfree-oci-cross-tenancy-copy" {
    report = var.report
    dynamic "destination" {
      for_each = var.places
      content {
        tenancy_ocid     = destination.value.tenancy
        user_ocid        = destination.value.user
        fingerprint      = destination.value.fingerprint
        key              = destination.value.key
        region           = destination.value.region
        compartment_ocid = destination.value.compartment
        image_name       = destination.value.name
      }
    }
  }
}
