# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Credentials are those of a profile of OCI's command line.

packer {
  required_plugins {
    oracle = {
      source  = "github.com/hashicorp/oracle"
      version = ">= 1.0.0, < 2.0.0"
    }
  }
}

variable "config_file" {
  type    = string
  default = env("CI_CONFIG_FILE")
}

variable "profile" {
  type    = string
  default = "IMAGES"
}

variable "compartment" {
  type    = string
  default = env("CI_COMPARTMENT_OCID")
}

variable "subnet" {
  type    = string
  default = env("CI_SUBNET_OCID")
}

variable "domain" {
  type    = string
  default = env("CI_DOMAIN")
}

variable "ssh_port" {
  type    = number
  default = env("CI_SSH_PORT")
}

source "oracle-oci" "profile" {
  use_instance_principals = false
  access_cfg_file         = var.config_file
  access_cfg_file_account = var.profile

  availability_domain = var.domain
  compartment_ocid    = var.compartment
  subnet_ocid         = var.subnet

  base_image_filter {
    display_name_search = "Oracle-Linux-9.*aarch64"
  }
  shape = "VM.Standard.A1.Flex"
  shape_config {
    ocpus         = "2"
    memory_in_gbs = "9"
  }

  image_name   = "{{ upper `by` }} profile"
  communicator = "none"
  tags = {
    "by" = "{{ build_name }}"
  }
}

build {
  source "source.oracle-oci.profile" {}
  post-processor "manifest" {
    output = "profile-manifest.json"
  }
}
