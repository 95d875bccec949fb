# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# The whole pipeline in one file: find an Ampere machine in the build tenancy,
# harden it, check it, make an image of it, bring the image home to the
# production tenancy. Credentials come from the environment; docs/environment.md
# lists every variable.
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

variable "ssh_username" {
  type        = string
  description = "The user that the base image lets in."
  default     = env("OCI_SSH_USERNAME")
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "assign_public_ip" {
  type        = bool
  description = "false where the subnet reaches out by a NAT gateway; Packer then has to reach the private address."
  default     = true
}

variable "capacity_timeout" {
  type        = string
  description = "How long a machine is looked for. Keep the time limit of a CI job above it."
  default     = "6h"
}

variable "capacity_interval" {
  type        = string
  description = "The least time between two requests while a machine is looked for."
  default     = "10s"
}

variable "apt_source" {
  type        = string
  description = "A one-line apt source used in place of the image's own while the machine is hardened, for machines that reach no mirror."
  default     = ""
}

variable "install_tailscale" {
  type        = bool
  description = "Whether tailscale is installed and enabled. It joins no network: that takes a key, which has no place in an image."
  default     = true
}

variable "tailscale_source" {
  type        = string
  description = "A one-line apt source that has the package tailscale, which Debian does not have. Empty means tailscale's own."
  default     = ""
}

variable "verify_subnet_ocid" {
  type        = string
  description = "A subnet of the production tenancy in which the copy is started, to see that it boots and passes; empty does not start it."
  default     = env("PROD_OCI_SUBNET_OCID")
}

locals {
  name = "${var.image_prefix}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
}

source "armfree-oci" "debian" {
  image_name        = local.name
  ssh_username      = coalesce(var.ssh_username, "debian")
  ssh_port          = var.ssh_port
  ssh_timeout       = "15m"
  assign_public_ip  = var.assign_public_ip
  use_private_ip    = !var.assign_public_ip
  capacity_timeout  = var.capacity_timeout
  capacity_interval = var.capacity_interval
  tags = {
    pipeline = "armfree"
    base     = "debian-12"
  }
}

build {
  sources = ["source.armfree-oci.debian"]

  provisioner "shell" {
    script          = "${path.root}/scripts/harden.sh"
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
    env = {
      APT_SOURCE        = var.apt_source
      INSTALL_TAILSCALE = var.install_tailscale
      TAILSCALE_SOURCE  = var.tailscale_source
    }
  }

  # Nothing becomes an image that does not pass. The last step on the machine is
  # the check's own, so that the image is the machine that was checked: it
  # forgets what belongs to this one machine only.
  provisioner "armfree-goss" {
    tests = [
      "${path.root}/goss/base.goss.yaml",
      "${path.root}/goss/oci-bootable.goss.yaml",
    ]
    goss_files = ["base.goss.yaml", "oci-bootable.goss.yaml"]
    min_tests  = 35
    vars_inline = {
      tailscale = var.install_tailscale
    }
    finish = "${path.root}/scripts/forget.sh"
  }

  post-processors {
    post-processor "armfree-oci-cross-tenancy-copy" {
      dest_image_name = local.name
      destination {
        tags = {
          pipeline = "armfree"
          base     = "debian-12"
        }
        dynamic "verify" {
          for_each = var.verify_subnet_ocid == "" ? [] : [var.verify_subnet_ocid]
          content {
            subnet_ocid   = verify.value
            ssh_username  = coalesce(var.ssh_username, "debian")
            ssh_port      = var.ssh_port
            tests         = ["${path.root}/goss/base.goss.yaml", "${path.root}/goss/first-boot.goss.yaml"]
            goss_files    = ["base.goss.yaml", "first-boot.goss.yaml"]
            min_tests     = 20
            retry_timeout = "2m"
            vars_inline = {
              tailscale = var.install_tailscale
            }
          }
        }
      }
    }
    post-processor "manifest" {
      output = "${path.root}/manifest.json"
    }
  }
}
