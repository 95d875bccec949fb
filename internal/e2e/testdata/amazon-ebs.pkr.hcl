# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# What somebody would write for the unmodified packer-plugin-amazon.
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

variable "spot_price" {
  type = string
}

source "amazon-ebs" "debian" {
  ami_name        = "by-amazon-ebs"
  ami_description = "words"
  ami_regions     = ["eu-central-1"]
  deprecate_at    = timeadd(timestamp(), "8760h")
  imds_support    = "v2.0"

  instance_type       = var.spot_price == "" ? "t4g.micro" : null
  spot_instance_types = var.spot_price == "" ? null : ["t4g.micro", "t4g.small"]
  spot_price          = var.spot_price

  source_ami_filter {
    filters = {
      name                = "debian-13-arm64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }

  associate_public_ip_address               = true
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true
  ssh_username                              = "admin"
  ssh_port                                  = var.ssh_port

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 10
    volume_type           = "gp3"
    delete_on_termination = true
  }

  run_tags = {
    Purpose = "build"
  }
  tags = {
    Release = "latest"
  }

  skip_credential_validation = true # there is no STS yet
  skip_metadata_api_check    = true
}

build {
  sources = ["source.amazon-ebs.debian"]

  provisioner "shell" {
    inline = ["uname -m", "echo packed | sudo tee /etc/armfree"]
  }
}
