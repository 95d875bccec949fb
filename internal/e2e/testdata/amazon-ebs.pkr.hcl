# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A whole amazon-ebs build, for the builder that is not ours. How it reaches the
# simulated cloud is in its environment.

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

variable "name" {
  type    = string
  default = "by-amazon-ebs"
}

variable "instance_profile" {
  type    = string
  default = ""
}

variable "spot_price" {
  type    = string
  default = ""
}


source "amazon-ebs" "peer" {
  ami_name        = var.name
  ami_description = "made by the peer of ${var.name}"
  ami_regions     = ["eu-west-1"]
  ami_users       = ["123456789012"]
  imds_support    = "v2.0"
  deprecate_at    = timeadd(timestamp(), "720h")

  instance_type               = var.spot_price == "" ? "t4g.micro" : null
  spot_instance_types         = var.spot_price == "" ? null : ["t4g.micro", "t4g.small"]
  spot_price                  = var.spot_price
  associate_public_ip_address = var.spot_price == "" ? true : null

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
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 10
    volume_type           = "gp3"
    delete_on_termination = true
  }
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }
  run_tags = {
    Name = "building ${var.name}"
  }
  run_volume_tags = {
    Name = "disk of ${var.name}"
  }
  tags = {
    made = "by the peer"
    base = "{{ .SourceAMIName }}"
  }
  snapshot_tags = {
    kept = "yes"
  }
  iam_instance_profile                      = var.instance_profile
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true
  skip_metadata_api_check                   = true
  ssh_username                              = "admin"
  ssh_port                                  = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.peer"]
  provisioner "shell" {
    inline = ["echo made by the peer > /home/admin/made", "uname -m"]
  }
}
