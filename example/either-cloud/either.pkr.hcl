# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# One image for ARM64, built wherever there is a machine: on OCI's Ampere, which
# may be free, and on AWS's Graviton when OCI has been out of capacity for a
# while. Credentials, base images and the subnet come from the environment;
# docs/environment.md lists every variable.
#
#   packer init . && packer build .

packer {
  required_version = ">= 1.12.0"
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "image_prefix" {
  type        = string
  description = "Images are named <prefix>-YYYYMMDDhhmmss."
  default     = "debian-12-arm64"
}

variable "prefer" {
  type        = list(string)
  description = "The clouds in the order in which a machine is looked for."
  default     = ["oci", "aws"]
}

variable "prefer_timeout" {
  type        = string
  description = "How long only the first cloud is asked."
  default     = "1h"
}

variable "capacity_timeout" {
  type        = string
  description = "How long a machine is looked for in all. Keep the time limit of a CI job above it."
  default     = "5h"
}

variable "oci_ssh_username" {
  type        = string
  description = "The user that the base image on OCI lets in."
  default     = "debian"
}

variable "aws_ssh_username" {
  type        = string
  description = "The user that the source image on AWS lets in."
  default     = "admin"
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "capacity_interval" {
  type        = string
  description = "The least time between two requests; empty is 10s on OCI and 2s on AWS."
  default     = ""
}

source "armfree" "debian" {
  image_name = "${var.image_prefix}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  tags = {
    os = "debian-12"
  }

  oci {
    assign_public_ip = true
    ssh_username     = var.oci_ssh_username
  }

  aws {
    ssh_username = var.aws_ssh_username
    # Free accounts only: anything that costs money is left out.
    free_tier = "require"
  }

  prefer            = var.prefer
  prefer_timeout    = var.prefer_timeout
  capacity_timeout  = var.capacity_timeout
  capacity_interval = var.capacity_interval
  ssh_port          = var.ssh_port
}

build {
  sources = ["source.armfree.debian"]

  provisioner "shell" {
    inline = [
      "test \"$(uname -m)\" = aarch64",
      "echo built on ${build.Cloud} in ${build.Region}",
    ]
  }

  post-processor "manifest" {
    output = "manifest.json"
    custom_data = {
      cloud  = "${build.Cloud}"
      region = "${build.Region}"
    }
  }
}
