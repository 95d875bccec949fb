# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An AMI for Graviton: the smallest machine that is free, in whatever zone has one,
# hardened and checked before the image exists. Credentials and source image come from
# the environment; docs/environment.md lists every variable.
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

variable "ami_name_prefix" {
  type        = string
  description = "Images are named <prefix>-YYYYMMDDhhmmss."
  default     = "debian-12-arm64"
}

variable "instance_type" {
  type        = string
  description = "The type that is tried first."
  default     = "t4g.micro"
}

variable "associate_public_ip" {
  type        = bool
  description = "false where the subnet reaches out by a NAT gateway; Packer then has to reach the private address."
  default     = true
}

variable "capacity_timeout" {
  type        = string
  description = "How long a machine is looked for. Keep the time limit of a CI job above it."
  default     = "5h"
}

variable "ssh_username" {
  type        = string
  description = "The user that the source image lets in."
  default     = env("AWS_SSH_USERNAME")
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "apt_source" {
  type        = string
  description = "A one-line apt source used in place of the image's own while the machine is hardened, for machines that reach no mirror."
  default     = ""
}

variable "install_tailscale" {
  type    = bool
  default = true
}

locals {
  name    = "${var.ami_name_prefix}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  scripts = "${path.root}/../pipeline/scripts"
}

source "armfree-aws" "debian" {
  ami_name                    = local.name
  instance_types              = distinct([var.instance_type, "t4g.micro", "t4g.small"])
  associate_public_ip_address = var.associate_public_ip
  free_tier                   = "require" # what costs money is left out
  capacity_timeout            = var.capacity_timeout
  ssh_username                = coalesce(var.ssh_username, "admin")
  ssh_port                    = var.ssh_port
  ssh_timeout                 = "15m"

  root_volume_size = 10 # GiB of gp3

  tags = {
    pipeline = "armfree"
    base     = "debian-12"
  }
}

build {
  sources = ["source.armfree-aws.debian"]

  provisioner "shell" {
    script          = "${local.scripts}/harden.sh"
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
    env = {
      APT_SOURCE        = var.apt_source
      INSTALL_TAILSCALE = var.install_tailscale
      TAILSCALE_SOURCE  = ""
    }
  }

  # Nothing becomes an image that does not pass. The check's own last step forgets what
  # belongs to this one machine only.
  provisioner "armfree-goss" {
    tests     = ["${path.root}/../pipeline/goss/base.goss.yaml"]
    min_tests = 20
    vars_inline = {
      tailscale = var.install_tailscale
    }
    finish = "${local.scripts}/forget.sh"
  }

  post-processor "manifest" {
    output = "${path.cwd}/manifest.json"
  }
}
