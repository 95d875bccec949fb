# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A machine in the private subnet, reached through an OCI Bastion. Everything else
# comes from the environment.

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

variable "subnet" {
  type = string
}

# One that exists; empty to have one made.
variable "bastion" {
  default = ""
}

# Whether there is an oci_bastion block at all.
variable "through" {
  default = true
}

source "armfree-oci" "private" {
  image_name       = "from-the-private-subnet"
  subnet_ocid      = var.subnet
  assign_public_ip = false
  use_private_ip   = true
  ssh_username     = "debian"
  ssh_port         = var.ssh_port
  ssh_timeout      = var.through ? "60s" : "2s"

  dynamic "oci_bastion" {
    for_each = var.through ? [var.bastion] : []
    content {
      bastion_ocid      = oci_bastion.value
      timeout           = "60s"
      tags              = oci_bastion.value == "" ? { team = "infra" } : {}
      defined_tags_json = oci_bastion.value == "" ? jsonencode({ Operations = { CostCenter = "42" } }) : ""
    }
  }
}

build {
  sources = ["source.armfree-oci.private"]
  provisioner "file" {
    content     = "uploaded through the bastion"
    destination = "/home/debian/uploaded"
  }
  provisioner "shell" {
    inline = ["uname -m", "cat /home/debian/uploaded"]
  }
}
