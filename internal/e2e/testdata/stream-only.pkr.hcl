# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An AMI that exists into the production tenancy of OCI. Nothing is built.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ami" {
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
    source_ami           = var.ami
    allow_unproven_image = true
    dest_image_name      = "from-aws"
    report               = var.report
    aws {
      profile = "neighbour"
    }
  }
}
