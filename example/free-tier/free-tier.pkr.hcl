# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# The least that makes an image on OCI's Always Free allowance, and never anything that
# costs money: if nothing free can be had within the time, the build fails and says why.
# Credentials, base image and subnet come from the environment; docs/environment.md
# lists every variable.
#
#   packer init . && packer build .

packer {
  required_version = ">= 1.12.0"
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ssh_username" {
  type        = string
  description = "The user that the base image lets in."
  default     = env("OCI_SSH_USERNAME")
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "capacity_timeout" {
  type        = string
  description = "How long a machine is looked for."
  default     = "12h"
}

source "armfree-oci" "free" {
  image_name       = "free-{{timestamp}}"
  free_tier        = "require"
  capacity_timeout = var.capacity_timeout
  assign_public_ip = true
  ssh_username     = coalesce(var.ssh_username, "debian")
  ssh_port         = var.ssh_port
}

build {
  sources = ["source.armfree-oci.free"]

  provisioner "shell" {
    inline = ["uname -m"]
  }

  provisioner "armfree-goss" {
    tests = ["${path.root}/free.goss.yaml"]
  }
}
