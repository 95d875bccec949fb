# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# One image into several regions and tenancies, exported once and imported everywhere at
# the same time. What comes of each is in a report; a destination that fails does not
# stop the others. BUILD_OCI_... has the image, PROD_OCI_... is who signs in to the
# destinations that do not say it themselves.
#
#   packer build -var source_image_ocid=ocid1.image... -var second_region=eu-zurich-1 .

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
  type    = string
  default = env("SOURCE_IMAGE_OCID")
}

variable "first_region" {
  type        = string
  description = "A region of the production tenancy."
  default     = env("PROD_OCI_REGION")
}

variable "second_region" {
  type        = string
  description = "Another one."
  default     = "eu-zurich-1"
}

source "null" "image" {
  communicator = "none"
}

build {
  sources = ["source.null.image"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_image_ocid = var.source_image_ocid
    report            = "${path.cwd}/copy-report.json"

    destination {
      region = var.first_region
      tags   = { stage = "production" }
    }

    destination {
      region = var.second_region
      tags   = { stage = "standby" }
    }
  }
}
