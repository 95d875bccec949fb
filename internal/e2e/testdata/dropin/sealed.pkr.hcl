# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Two images of one name, whose last provisioners close the door behind
# themselves.

packer {
  required_plugins {
    oracle = { source = "github.com/hashicorp/oracle", version = ">= 0" }
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

source "oracle-oci" "base" {
  tenancy_ocid        = var.ci.tenancy
  user_ocid           = var.ci.user
  fingerprint         = var.ci.fingerprint
  key_file            = var.ci.key_file
  region              = var.ci.region
  availability_domain = var.ci.domain
  compartment_ocid    = var.ci.compartment
  subnet_ocid         = var.ci.subnet
  base_image_ocid     = var.ci.image
  shape               = "VM.Standard.A1.Flex"
  shape_config {
    ocpus         = 1
    memory_in_gbs = 6
  }
  image_name   = "nightly: *arm 64* (master)"
  ssh_username = "debian"
  ssh_port     = var.ci.ssh_port
}

build {
  source "oracle-oci.base" {
    name          = "sealed"
    instance_name = "is sealed"
    tags          = { kind = "sealed" }
  }
  source "oracle-oci.base" {
    name          = "stopped"
    instance_name = "is stopped"
    tags          = { kind = "stopped" }
  }

  provisioner "shell" {
    inline = ["echo done > made"]
  }

  # The image's users get keys and a host key of their own.
  provisioner "shell" {
    only = ["oracle-oci.sealed"]
    inline = [
      "sudo rm -rf /home/debian/.ssh /home/ubuntu/.ssh /home/opc/.ssh /root/.ssh",
      "sudo rm -f /etc/ssh/ssh_host_*",
      "sudo rm -rf /var/lib/cloud",
      "echo \"said: sealed\"",
    ]
    skip_clean = true
  }

  provisioner "shell" {
    only              = ["oracle-oci.stopped"]
    expect_disconnect = true
    skip_clean        = true
    inline            = ["sudo rm -rf /home/debian/.ssh", "sudo poweroff"]
  }

  post-processor "manifest" {}
}
