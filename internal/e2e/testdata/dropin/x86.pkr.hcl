# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Not for ARM at all: x86 machines, flexible and fixed, from platform images.

packer {
  required_plugins {
    oracle = {
      source  = "github.com/hashicorp/oracle"
      version = "1.1.2"
    }
  }
}

variable "ci" {
  type = map(string)
  default = {
    tenancy     = env("CI_TENANCY_OCID")
    user        = env("CI_USER_OCID")
    fingerprint = env("CI_FINGERPRINT")
    key_file    = env("CI_KEY_FILE")
    region      = env("CI_REGION")
    domain      = env("CI_DOMAIN")
    compartment = env("CI_COMPARTMENT_OCID")
    subnet      = env("CI_SUBNET_OCID")
    image       = env("CI_IMAGE_OCID")
    ssh_port    = env("CI_SSH_PORT")
  }
}

source "oracle-oci" "flexible" {
  tenancy_ocid        = var.ci.tenancy
  user_ocid           = var.ci.user
  fingerprint         = var.ci.fingerprint
  key_file            = var.ci.key_file
  region              = var.ci.region
  availability_domain = var.ci.domain
  compartment_ocid    = var.ci.compartment
  subnet_ocid         = var.ci.subnet
  shape               = "VM.Standard.E4.Flex"
  shape_config {
    ocpus = 1
  }
  base_image_filter {
    operating_system         = "Canonical Ubuntu"
    operating_system_version = "24.04"
  }
  instance_name = "x86 flexible"
  image_name    = "x86-flexible"
  ssh_username  = "ubuntu"
  ssh_port      = var.ci.ssh_port
}

source "oracle-oci" "fixed" {
  tenancy_ocid        = var.ci.tenancy
  user_ocid           = var.ci.user
  fingerprint         = var.ci.fingerprint
  key_file            = var.ci.key_file
  region              = var.ci.region
  availability_domain = var.ci.domain
  compartment_ocid    = var.ci.compartment
  subnet_ocid         = var.ci.subnet
  shape               = "VM.Standard.E2.1.Micro"
  base_image_filter {
    compartment_id      = var.ci.tenancy
    operating_system    = "Oracle Linux"
    display_name_search = "^Oracle-Linux-9\\.[0-9]+-[0-9]{4}"
    shape               = "VM.Standard.E2.1.Micro"
  }
  instance_name = "x86 fixed"
  image_name    = "x86-fixed"
  ssh_username  = "opc"
  ssh_port      = var.ci.ssh_port
}

build {
  sources = ["source.oracle-oci.flexible", "source.oracle-oci.fixed"]
  post-processor "manifest" {}
}
