# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# As little as amazon-ebs can do with. Keys and region come from the environment.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8"
    }
  }
}

variable "ami" { default = env("CI_AMI") }
variable "ssh_port" { default = env("CI_SSH_PORT") }

source "amazon-ebs" "minimal" {
  ami_name      = "minimal"
  instance_type = "t4g.micro"
  source_ami    = var.ami
  ssh_username  = "admin"
  ssh_port      = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.minimal"]
  post-processor "manifest" {}
}
