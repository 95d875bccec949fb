# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A disk that is captured because there is no room for an image, and imported in
# production. Everything else comes from the environment.

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

source "armfree-oci" "test" {
  image_name        = "captured"
  image_method      = "auto"
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

  post-processor "armfree-oci-cross-tenancy-copy" {}
}
