# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A team's golden image: a filter, a network of its own, tags that speak of the
# source image, copies, sharing.

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    amazon = { version = "~> 1", source = "github.com/hashicorp/amazon" }
  }
}

variable "ssh_port" {
  type    = number
  default = env("CI_SSH_PORT")
}

variable "access" {
  type = object({ id = string, secret = string, region = string })
  default = {
    id     = env("CI_KEY_ID")
    secret = env("CI_SECRET")
    region = env("CI_REGION")
  }
}

variable "network" {
  type = map(string)
  default = {
    vpc    = env("CI_VPC")
    group  = env("CI_GROUP")
    tagged = "builders"
  }
}

variable "release" { type = string }
variable "labels" { type = map(string) }
variable "copies" { type = list(string) }

locals {
  name = "golden-${var.release}-${formatdate("YYYY", "2026-11-26T00:00:00Z")}"
}

source "amazon-ebs" "golden" {
  access_key = var.access.id
  secret_key = var.access.secret
  region     = var.access.region

  ami_name                = local.name
  ami_description         = "golden image of {{ .SourceAMIName }}"
  ami_regions             = var.copies
  ami_users               = ["123456789012", "210987654321"]
  snapshot_users          = ["123456789012"]
  ami_virtualization_type = "hvm"
  ena_support             = true

  instance_type = "t4g.small"
  ebs_optimized = true

  source_ami_filter {
    filters = {
      name                = "debian-${var.release}-arm64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    most_recent = true
    owners      = ["136693071363"]
  }

  vpc_id = var.network["vpc"]
  subnet_filter {
    filters = {
      "vpc-id" = var.network["vpc"]
    }
    most_free = true
    random    = false
  }
  associate_public_ip_address = true
  security_group_ids          = [var.network["group"]]

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 12
    volume_type           = "gp3"
    iops                  = 3500
    throughput            = 200
    delete_on_termination = true
  }

  run_tags        = merge(var.labels, { Name = "packer ${local.name}" })
  run_volume_tags = { Name = "disk of ${local.name}" }
  tags = merge(var.labels, {
    Name      = local.name
    Base      = "{{ .SourceAMI }}"
    BaseName  = "{{ .SourceAMIName }}"
    BaseOwner = "{{ .SourceAMIOwner }}"
    BuiltIn   = "{{ .BuildRegion }}"
  })
  snapshot_tags = { Kept = "yes" }

  temporary_key_pair_type = "ed25519"
  ssh_username            = "admin"
  ssh_port                = var.ssh_port
  ssh_timeout             = "10m"
  skip_metadata_api_check = true
  aws_polling {
    delay_seconds = 1
    max_attempts  = 500
  }
}

build {
  name    = "team"
  sources = ["source.amazon-ebs.golden"]
  provisioner "shell" {
    environment_vars = ["BASE=${build.SourceAMIName}"]
    inline           = ["echo \"said: $BASE\"", "echo golden > /home/admin/golden"]
  }
  post-processor "manifest" {
    output     = "golden-manifest.json"
    strip_path = true
    custom_data = {
      release = var.release
      region  = build.BuildRegion
      base    = build.SourceAMI
      user    = build.User
    }
  }
}
