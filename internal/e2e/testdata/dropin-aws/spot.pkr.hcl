# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A spot machine of the cheapest types, with tags on all that is asked for.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8"
    }
  }
}

variable "ssh_port" { default = env("CI_SSH_PORT") }

source "amazon-ebs" "spot" {
  ami_name                 = "spot"
  spot_price               = "auto"
  spot_instance_types      = ["t4g.micro"]
  spot_allocation_strategy = "capacity-optimized"
  spot_tags                = { kind = "spot request" }
  fleet_tags               = { kind = "fleet" }
  run_tags                 = { Name = "spot machine", kind = "run" }
  tags                     = { Name = "spot image" }
  source_ami_filter {
    filters     = { name = "debian-12-arm64-*" }
    owners      = ["136693071363"]
    most_recent = true
  }
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 9
    volume_type           = "gp3"
    delete_on_termination = true
  }
  ssh_username = "admin"
  ssh_port     = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.spot"]
  provisioner "shell" {
    inline = ["echo said: spot", "echo spot > /home/admin/spot"]
  }
  post-processor "manifest" {}
}
