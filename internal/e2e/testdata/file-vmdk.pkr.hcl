# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An image file into the production tenancy, as a VMDK on its way. Nothing is built.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "file" {
  type = string
}

variable "report" {
  type = string
}

source "null" "nothing" {
  communicator = "none"
}

build {
  sources = ["source.null.nothing"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_file     = var.file
    image_format    = "vmdk"
    dest_image_name = "from-file"
    report          = var.report
  }
}
