# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Debian's cloud image for ARM64, as an image that starts on Ampere. Nothing is built:
# the image is downloaded, held against the digest that Debian publishes, packed, and
# imported through a bucket. Who signs in comes from the environment: OCI_... is the
# tenancy that gets the image, BUILD_OCI_BUCKET a bucket of it.
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

variable "folder" {
  type        = string
  description = "Where Debian publishes the image, with the file SHA512SUMS beside it. A folder with a date in its name does not change any more."
  default     = "https://cloud.debian.org/images/cloud/bookworm/latest"
}

variable "file" {
  type    = string
  default = "debian-12-genericcloud-arm64.qcow2"
}

variable "checksum" {
  type        = string
  description = "The digest of the file, \"sha512:...\"; empty takes it from SHA512SUMS, which is read either way."
  default     = ""
}

variable "image_name" {
  type    = string
  default = "debian-12-arm64"
}

variable "key" {
  type      = string
  default   = env("OCI_API_PRIVATE_KEY")
  sensitive = true
}

variable "tenancy_ocid" {
  type    = string
  default = env("OCI_TENANCY_OCID")
}

variable "user_ocid" {
  type    = string
  default = env("OCI_USER_OCID")
}

variable "fingerprint" {
  type    = string
  default = env("OCI_FINGERPRINT")
}

variable "region" {
  type    = string
  default = env("OCI_REGION")
}

variable "compartment_ocid" {
  type    = string
  default = env("OCI_COMPARTMENT_OCID")
}

data "http" "sums" {
  url = "${var.folder}/SHA512SUMS"
}

locals {
  digests  = { for line in split("\n", trimspace(data.http.sums.body)) : element(split("  ", line), 1) => element(split("  ", line), 0) }
  checksum = var.checksum != "" ? var.checksum : "sha512:${local.digests[var.file]}"
}

source "null" "nothing" {
  communicator = "none"
}

build {
  sources = ["source.null.nothing"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_url               = "${var.folder}/${var.file}"
    source_checksum          = local.checksum
    dest_image_name          = var.image_name
    operating_system         = "Debian"
    operating_system_version = "12"
    report                   = "${path.cwd}/debian-report.json"

    destination {
      tenancy_ocid     = var.tenancy_ocid
      user_ocid        = var.user_ocid
      fingerprint      = var.fingerprint
      key              = var.key
      region           = var.region
      compartment_ocid = var.compartment_ocid
      image_shapes     = ["VM.Standard.A1.Flex", "VM.Standard.A2.Flex"]
    }
  }
}
