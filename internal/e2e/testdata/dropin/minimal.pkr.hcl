# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# As little as oracle-oci can do with: no compartment, no name, no memory, no
# provisioner.

packer {
  required_plugins {
    oracle = {
      source  = "github.com/hashicorp/oracle"
      version = ">= 1.0.3"
    }
  }
}

variable "tenancy" { default = env("CI_TENANCY_OCID") }
variable "user" { default = env("CI_USER_OCID") }
variable "fingerprint" { default = env("CI_FINGERPRINT") }
variable "key_file" { default = env("CI_KEY_FILE") }
variable "region" { default = env("CI_REGION") }
variable "domain" { default = env("CI_DOMAIN") }
variable "subnet" { default = env("CI_SUBNET_OCID") }
variable "image" { default = env("CI_IMAGE_OCID") }
variable "ssh_port" { default = env("CI_SSH_PORT") }

source "oracle-oci" "minimal" {
  tenancy_ocid        = var.tenancy
  user_ocid           = var.user
  fingerprint         = var.fingerprint
  key_file            = var.key_file
  region              = var.region
  availability_domain = var.domain
  base_image_ocid     = var.image
  subnet_ocid         = var.subnet
  shape               = "VM.Standard.A1.Flex"
  shape_config {
    ocpus = 1
  }
  ssh_username = "debian"
  ssh_port     = var.ssh_port
}

build {
  sources = ["source.oracle-oci.minimal"]
  post-processor "manifest" {}
}
