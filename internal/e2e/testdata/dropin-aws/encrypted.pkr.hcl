# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Encrypted by keys of one's own, in two regions, protected.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0"
    }
  }
}

variable "ssh_port" { default = env("CI_SSH_PORT") }
variable "profiles" { default = env("CI_PROFILES") }
variable "keys" {
  type = map(string)
  default = {
    here  = env("CI_KMS_HERE")
    there = env("CI_KMS_THERE")
  }
}

source "amazon-ebs" "encrypted" {
  profile                 = "images"
  shared_credentials_file = var.profiles
  region                  = "eu-central-1"
  ami_name                = "encrypted"
  ami_regions             = ["eu-central-1", "eu-west-1"]
  encrypt_boot            = true
  kms_key_id              = var.keys["here"]
  region_kms_key_ids = {
    eu-central-1 = var.keys["here"]
    eu-west-1    = var.keys["there"]
  }
  deregistration_protection {
    enabled       = true
    with_cooldown = false
  }
  instance_type = "t4g.micro"
  source_ami_filter {
    filters = {
      name         = "debian-12-arm64-*"
      architecture = "arm64"
    }
    owners      = ["136693071363"]
    most_recent = true
  }
  tags         = { Name = "encrypted" }
  ssh_username = "admin"
  ssh_port     = var.ssh_port
}

build {
  sources = ["source.amazon-ebs.encrypted"]
  provisioner "shell" {
    inline = ["echo encrypted > /home/admin/encrypted"]
  }
  post-processor "manifest" {}
}
