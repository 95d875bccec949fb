# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Two images of one source block, each with what is its own; tags by dynamic
# blocks.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.8"
    }
  }
}

variable "ssh_port" { default = env("CI_SSH_PORT") }

locals {
  stamp  = "20261126"
  common = { team = "infra", stamp = local.stamp }
}

source "amazon-ebs" "debian" {
  instance_type                         = "t4g.micro"
  ssh_username                          = "admin"
  ssh_port                              = var.ssh_port
  imds_support                          = "v2.0"
  deprecate_at                          = "2035-06-01T00:00:00Z"
  skip_ami_run_tags                     = true
  temporary_security_group_source_cidrs = ["198.51.100.0/24"]

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  dynamic "tag" {
    for_each = local.common
    content {
      key   = tag.key
      value = tag.value
    }
  }
  dynamic "run_tag" {
    for_each = { Name = "matrix", used = "by run_tag" }
    content {
      key   = run_tag.key
      value = run_tag.value
    }
  }
  run_volume_tag {
    name  = "volume"
    value = "yes"
  }
  snapshot_tag {
    key   = "snapshot"
    value = "yes"
  }
}

build {
  dynamic "source" {
    for_each = { bookworm = "12", trixie = "13" }
    labels   = ["amazon-ebs.debian"]
    content {
      name     = source.key
      ami_name = "matrix-${source.value}-${local.stamp}"
      source_ami_filter {
        filters     = { name = "debian-${source.value}-arm64-*" }
        owners      = ["136693071363"]
        most_recent = true
      }
    }
  }
  provisioner "shell" {
    inline = ["echo said: ${source.name}", "echo ${source.name} > /home/admin/name"]
  }
  post-processor "manifest" {
    output = "manifest.json"
  }
}
