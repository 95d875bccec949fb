# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A whole amazon-ebs build, which `make bench` runs with packer-plugin-amazon and, with
# the entry in required_plugins changed, with this plugin. How it reaches the simulated
# cloud is in its environment.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

source "amazon-ebs" "peer" {
  ami_name                    = "measured"
  instance_type               = "t4g.micro"
  associate_public_ip_address = true
  source_ami_filter {
    filters = {
      name                = "debian-12-arm64-*"
      architecture        = "arm64"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }
  tags = {
    made = "by the bench"
  }
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true
  skip_metadata_api_check                   = true
  ssh_username                              = "admin"
  ssh_port                                  = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.peer"]
  provisioner "shell" {
    inline = ["echo made by the bench > /home/admin/made", "uname -m"]
  }
}
