# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Builds with everything in them that must stay secret: credentials in the environment,
# a host key in the user data, and a variable for a provisioner.

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

variable "tailscale_auth_key" {
  default   = env("TAILSCALE_AUTH_KEY")
  sensitive = true
}

source "armfree-oci" "test" {
  image_name        = "secrets"
  ssh_username      = "debian"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  assign_public_ip  = true
  ssh_pin_host_key  = true
  capacity_interval = "100ms"
}

source "armfree-aws" "test" {
  ami_name          = "secrets"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  ssh_pin_host_key  = true
  capacity_interval = "100ms"
}

build {
  sources = ["source.armfree-oci.test", "source.armfree-aws.test"]
  provisioner "shell" {
    environment_vars = ["TAILSCALE_AUTH_KEY=${var.tailscale_auth_key}"]
    inline           = ["echo joining by $TAILSCALE_AUTH_KEY", "uname -m"]
  }
  post-processor "armfree-oci-cross-tenancy-copy" {
    only            = ["armfree-oci.test"]
    dest_image_name = "copied"
  }
}
