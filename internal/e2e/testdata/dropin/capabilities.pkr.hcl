# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# An image for nodes that want another network attachment.

packer {
  required_plugins {
    oracle = {
      version = ">= 1.1.0"
      source  = "github.com/hashicorp/oracle"
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

locals {
  stamp = formatdate("YYYY-MM", timestamp())
}

source "oracle-oci" "node" {
  tenancy_ocid        = var.ci.tenancy
  user_ocid           = var.ci.user
  fingerprint         = var.ci.fingerprint
  key_file            = var.ci.key_file
  region              = var.ci.region
  availability_domain = var.ci.domain
  compartment_ocid    = var.ci.compartment
  base_image_ocid     = var.ci.image
  shape               = "VM.Standard.A1.Flex"

  shape_config {
    ocpus                     = 2
    memory_in_gbs             = 12
    baseline_ocpu_utilization = "BASELINE_1_1"
  }

  create_vnic_details {
    subnet_id        = var.ci.subnet
    assign_public_ip = true
  }

  image_launch_mode   = "NATIVE"
  nic_attachment_type = "VFIO"
  skip_create_image   = false

  instance_options_are_legacy_imds_endpoints_disabled = true

  communicator              = "ssh"
  ssh_username              = "debian"
  ssh_port                  = var.ci.ssh_port
  temporary_key_pair_type   = "ed25519"
  ssh_clear_authorized_keys = true
}

build {
  source "source.oracle-oci.node" {
    name       = "worker"
    image_name = "node"
    tags = {
      for kind in ["worker", "arm64"] : "node.${kind}" => "yes"
    }
  }

  provisioner "file" {
    content     = "node"
    destination = "/home/debian/kind"
  }

  provisioner "shell" {
    inline = ["echo \"said: $(cat /home/debian/kind)\""]
  }

  post-processor "manifest" {}
}
