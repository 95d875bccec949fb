# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An image out of a tenancy that may not have images. Accounts with only Always Free
# resources are reported to have the limit custom-image-count = 0: there is an Ampere
# machine, and no image can be made of it. So its disk is captured, from within the
# machine, into a bucket, and imported where an image may be.
#
# The machine starts from Oracle's own image of Ubuntu: nothing of one's own can be
# imported into such a tenancy. README.md says what each of the two tenancies needs.
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

variable "base_image_ocid" {
  type        = string
  description = "The image to start from. Empty means Oracle's newest of Ubuntu 24.04."
  default     = ""
}

variable "ssh_username" {
  type    = string
  default = "ubuntu"
}

variable "ssh_port" {
  type    = number
  default = 22
}

variable "image_method" {
  type        = string
  description = "auto captures the disk if there is no room for an image, capture always does."
  default     = "auto"
}

variable "scripts" {
  type        = list(string)
  description = "What is run on the machine as root."
  default     = []
}

variable "script_env" {
  type        = map(string)
  description = "The environment of these scripts."
  default     = {}
}

variable "tests" {
  type        = list(string)
  description = "The gossfiles that the machine, and the one in production, must pass."
  default     = []
}

variable "verify_subnet_ocid" {
  type        = string
  description = "A subnet of the production tenancy in which the image is started, to see that it boots and passes; empty does not start it."
  default     = env("PROD_OCI_SUBNET_OCID")
}

locals {
  name  = "always-free-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  tests = length(var.tests) > 0 ? var.tests : ["${path.root}/always-free.goss.yaml"]
  files = [for t in local.tests : basename(t)]
}

source "armfree-oci" "free" {
  image_name       = local.name
  image_method     = var.image_method # the bucket is that of BUILD_OCI_BUCKET
  image_timeout    = "2h"
  free_tier        = "require"
  capacity_timeout = "12h"
  base_image_ocid  = var.base_image_ocid
  assign_public_ip = true
  ssh_username     = var.ssh_username
  ssh_port         = var.ssh_port
  ssh_timeout      = "15m"

  dynamic "base_image_filter" {
    for_each = var.base_image_ocid == "" ? ["24.04"] : []
    content {
      operating_system         = "Canonical Ubuntu"
      operating_system_version = base_image_filter.value
      display_name_search      = "^Canonical-Ubuntu-24.04-aarch64-"
    }
  }
}

build {
  sources = ["source.armfree-oci.free"]

  provisioner "shell" {
    inline = ["uname -m"]
  }

  provisioner "shell" {
    scripts         = concat(["${path.root}/setup.sh"], var.scripts)
    execute_command = "chmod +x {{ .Path }}; sudo env {{ .Vars }} {{ .Path }}"
    env             = var.script_env
  }

  # The check's last act makes the machine forget who it was; what is left of that, the
  # capture does by itself.
  provisioner "armfree-goss" {
    tests      = local.tests
    goss_files = local.files
    finish     = "${path.root}/../pipeline/scripts/forget.sh"
    vars_inline = {
      tailscale = false
    }
  }

  post-processors {
    # Takes a captured disk as well as an image.
    post-processor "armfree-oci-cross-tenancy-copy" {
      dest_image_name = local.name
      destination {
        dynamic "verify" {
          for_each = var.verify_subnet_ocid == "" ? [] : [var.verify_subnet_ocid]
          content {
            subnet_ocid   = verify.value
            ssh_username  = var.ssh_username
            ssh_port      = var.ssh_port
            tests         = local.tests
            goss_files    = local.files
            retry_timeout = "2m"
            vars_inline = {
              tailscale = false
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
