# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A whole build on AWS. Credentials, region, source image and user name come from
# the environment.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

variable "types" {
  type    = list(string)
  default = []
}

variable "markets" {
  type    = list(string)
  default = []
}

variable "zones" {
  type    = list(string)
  default = []
}

variable "capacity_timeout" {
  default = "60s"
}

variable "free_tier" {
  default = "prefer"
}

variable "image_method" {
  default = "snapshot"
}

variable "copies" {
  type    = list(string)
  default = ["eu-west-1"]
}

variable "more" {
  type    = list(string)
  default = []
}

source "armfree-aws" "test" {
  ami_name           = "pipeline"
  ami_description    = "made of {{ .SourceAMIName }}"
  ami_regions        = var.copies
  image_method       = var.image_method
  instance_types     = var.types
  markets            = var.markets
  availability_zones = var.zones
  free_tier          = var.free_tier
  ssh_port           = var.ssh_port
  ssh_timeout        = "60s"
  capacity_interval  = "100ms"
  capacity_timeout   = var.capacity_timeout
  tags = {
    base = "{{ .SourceAMI }}"
    from = "{{ .BuildRegion }}"
  }
}

build {
  sources = ["source.armfree-aws.test"]
  provisioner "shell" {
    inline = concat(["echo made by the pipeline > /home/admin/made", "uname -m", "echo said: ${build.InstanceType} in ${build.AvailabilityZone}"], var.more)
  }
}
