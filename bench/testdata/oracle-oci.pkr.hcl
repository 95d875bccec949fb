# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A whole oracle-oci build, which `make bench` runs with packer-plugin-oracle and, with
# the entry in required_plugins changed, with this plugin. How it reaches the simulated
# cloud is in its environment.

packer {
  required_plugins {
    oracle = {
      source  = "github.com/hashicorp/oracle"
      version = ">= 1.1.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

variable "image_name" {
  default = "measured"
}

variable "oci_tenancy_ocid" {
  default = env("OCI_TENANCY_OCID")
}

variable "oci_user_ocid" {
  default = env("OCI_USER_OCID")
}

variable "oci_fingerprint" {
  default = env("OCI_FINGERPRINT")
}

variable "oci_api_private_key" {
  default = env("OCI_API_PRIVATE_KEY")
}

variable "oci_region" {
  default = env("OCI_REGION")
}

variable "oci_compartment_ocid" {
  default = env("OCI_COMPARTMENT_OCID")
}

variable "oci_availability_domain" {
  default = env("OCI_AVAILABILITY_DOMAIN")
}

variable "oci_subnet_ocid" {
  default = env("OCI_SUBNET_OCID")
}

variable "oci_base_image_ocid" {
  default = env("OCI_BASE_IMAGE_OCID")
}

source "oracle-oci" "peer" {
  tenancy_ocid        = var.oci_tenancy_ocid
  user_ocid           = var.oci_user_ocid
  fingerprint         = var.oci_fingerprint
  key                 = var.oci_api_private_key
  region              = var.oci_region
  compartment_ocid    = var.oci_compartment_ocid
  availability_domain = var.oci_availability_domain
  subnet_ocid         = var.oci_subnet_ocid
  base_image_ocid     = var.oci_base_image_ocid
  image_name          = var.image_name
  shape               = "VM.Standard.A1.Flex"
  shape_config {
    ocpus         = 2
    memory_in_gbs = 12
  }
  instance_name = "peer"
  tags = {
    made = "by the peer"
  }
  ssh_username = "debian"
  ssh_port     = var.ssh_port
}

build {
  sources = ["source.oracle-oci.peer"]
  provisioner "shell" {
    inline = ["echo made by the peer > /home/debian/made", "uname -m"]
  }
}
