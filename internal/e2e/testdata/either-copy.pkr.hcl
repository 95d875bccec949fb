# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# One image, built wherever there is a machine, into the production tenancy of OCI. The
# check is a script in goss's place, which prints what goss was seen to print.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

variable "ssh_port" {
  type = number
}

variable "report" {
  type = string
}

source "armfree" "test" {
  image_name        = "built-somewhere"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  capacity_interval = "100ms"
  capacity_timeout  = "60s"
  prefer_timeout    = "1s"

  oci {
    assign_public_ip = true
    ssh_username     = "debian"
  }

  aws {
    ssh_username = "admin"
  }
}

build {
  sources = ["source.armfree.test"]

  provisioner "file" {
    source      = "${path.root}/../../goss/testdata/pass.json"
    destination = "/tmp/pass.json"
  }

  provisioner "shell" {
    inline = ["printf '#!/bin/sh\\ncat /tmp/pass.json\\n' >/tmp/goss", "chmod 755 /tmp/goss"]
  }

  provisioner "armfree-goss" {
    tests         = ["${path.root}/stream/oci-bootable.goss.yaml"]
    skip_install  = true
    download_path = "/tmp/goss"
    min_tests     = 7
  }

  post-processor "armfree-oci-cross-tenancy-copy" {
    report = var.report
  }
}
