# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An AMI of the builder that is not ours into the production tenancy of OCI.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
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

variable "source_ami" {
  type = string
}

source "amazon-ebs" "peer" {
  ami_name                                  = "debian-12-by-amazon-ebs"
  instance_type                             = "t4g.micro"
  source_ami                                = var.source_ami
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true
  skip_metadata_api_check                   = true
  ssh_username                              = "admin"
  ssh_port                                  = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.peer"]

  provisioner "shell" {
    inline = ["echo made by the peer > /home/admin/made"]
  }

  post-processors {
    post-processor "manifest" {
      output = "${var.report}.manifest"
    }
    post-processor "armfree-oci-cross-tenancy-copy" {
      allow_unproven_image = true
      report               = var.report
    }
  }
}
