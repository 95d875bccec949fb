# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A machine of AWS becomes an image for Ampere on OCI: built on Graviton, made bootable
# on OCI and checked for that, and streamed from its snapshot into the production
# tenancy, with nothing on a disk in between. With -var image_method=capture the disk is
# captured from within the machine, without a snapshot. Credentials come from the environment;
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

variable "image_method" {
  type        = string
  description = "What is made of the machine on AWS: ami, or capture, which makes an object in the bucket of BUILD_OCI_BUCKET and no AMI."
  default     = "ami"
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
  name    = "${var.image_prefix}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  scripts = "${path.root}/../pipeline/scripts"
  goss    = "${path.root}/../pipeline/goss"
}

source "armfree-aws" "debian" {
  ami_name         = local.name
  image_method     = var.image_method
  instance_types   = ["t4g.small", "t4g.micro"]
  ssh_username     = coalesce(var.ssh_username, "admin")
  ssh_port         = var.ssh_port
  ssh_timeout      = "15m"
  capacity_timeout = "2h"
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

  # Drivers, names of file systems, boot loader and console as OCI needs them.
  provisioner "shell" {
    script          = "${local.scripts}/oci-bootable.sh"
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
  }

  provisioner "armfree-goss" {
    tests     = ["${local.goss}/base.goss.yaml"]
    min_tests = 20
    vars_inline = {
      tailscale = var.install_tailscale
    }
  }

  # The proof without which the image does not go to OCI. The check's own last step
  # forgets what belongs to this one machine only.
  provisioner "armfree-goss" {
    tests     = ["${local.goss}/oci-bootable.goss.yaml"]
    min_tests = 7
    finish    = "${local.scripts}/forget.sh"
  }

  post-processors {
    post-processor "armfree-oci-cross-tenancy-copy" {
      dest_image_name          = local.name
      operating_system         = "Debian"
      operating_system_version = "12"
      destination {
        tags = { built_on = "aws" }
      }
    }
    post-processor "manifest" {
      output = "${path.root}/manifest.json"
    }
  }
}
