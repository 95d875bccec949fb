# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Copies an image that exists already into another tenancy. Nothing is built.
# Who signs in comes from the environment: BUILD_OCI_... has the image and the
# bucket through which it travels, PROD_OCI_... gets the copy.
#
#   packer build -var source_image_ocid=ocid1.image... .
#
# With a subnet of the destination's, in PROD_OCI_SUBNET_OCID, the copy is started
# there and must boot, let in the user of the image, and pass the gossfiles of
# verify_tests, if there are any.
#
# A run that was killed is taken up by the next one with the same variables.

packer {
  required_version = ">= 1.12.0"
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "source_image_ocid" {
  type        = string
  description = "The image to copy."
  default     = env("SOURCE_IMAGE_OCID")
}

variable "dest_image_name" {
  type        = string
  description = "The name of the copy; empty keeps the name."
  default     = env("DEST_IMAGE_NAME")
}

variable "object_name" {
  type        = string
  description = "The name of the object while the image travels; empty lets the plugin choose."
  default     = env("OBJECT_NAME")
}

variable "expires_in_hours" {
  type        = number
  description = "For how many hours the links to the object are valid at most."
  default     = 24
}

variable "verify_subnet_ocid" {
  type        = string
  description = "The subnet in which the copy is started; empty does not start it."
  default     = env("PROD_OCI_SUBNET_OCID")
}

variable "verify_tests" {
  type        = list(string)
  description = "Gossfiles that the copy must pass, each by itself."
  default     = []
}

variable "ssh_username" {
  type        = string
  description = "The user that the image lets in."
  default     = env("OCI_SSH_USERNAME")
}

variable "ssh_port" {
  type    = number
  default = 22
}

source "null" "image" {
  communicator = "none"
}

build {
  sources = ["source.null.image"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_image_ocid = var.source_image_ocid
    dest_image_name   = var.dest_image_name
    object_name       = var.object_name
    expires_in_hours  = var.expires_in_hours
    report            = "${path.cwd}/copy-report.json"

    destination {
      tags = { copied_by = "packer" }

      dynamic "verify" {
        for_each = var.verify_subnet_ocid == "" ? [] : [var.verify_subnet_ocid]
        content {
          subnet_ocid  = verify.value
          ssh_username = coalesce(var.ssh_username, "debian")
          ssh_port     = var.ssh_port
          goss_files   = var.verify_tests
        }
      }
    }
  }
}
