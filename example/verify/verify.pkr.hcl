# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Boots an image that exists, checks it with the same gossfile as the pipeline,
# and leaves nothing behind: proof that a copied image works where it is needed.
#
#   packer build -var base_image_ocid=ocid1.image... .

packer {
  required_version = ">= 1.12.0"
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "base_image_ocid" {
  type        = string
  description = "The image to check."
  default     = env("OCI_BASE_IMAGE_OCID")
}

variable "ssh_username" {
  type    = string
  default = env("OCI_SSH_USERNAME")
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "tailscale" {
  type        = bool
  description = "Whether the image is meant to have tailscale."
  default     = false
}

source "armfree-oci" "copy" {
  base_image_ocid   = var.base_image_ocid
  ssh_username      = coalesce(var.ssh_username, "debian")
  ssh_port          = var.ssh_port
  ssh_timeout       = "15m"
  assign_public_ip  = true
  skip_create_image = true
}

build {
  sources = ["source.armfree-oci.copy"]

  provisioner "armfree-goss" {
    tests         = ["${path.root}/../pipeline/goss/base.goss.yaml"]
    min_tests     = 20
    retry_timeout = "2m"
    vars_inline = {
      tailscale = var.tailscale
    }
  }
}
