# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# The disk of a machine on AWS, checked and captured, and imported in production. The
# bucket and everything else come from the environment. A machine that is no real Debian
# is checked by a script in goss's place, which prints what goss was seen to print.

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

# The name of the gossfile, without its ending.
variable "gossfile" {
  default = "oci-bootable"
}

source "armfree-aws" "test" {
  ami_name          = "captured"
  image_method      = "capture"
  instance_types    = ["t4g.micro"]
  markets           = ["spot"]
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  capacity_interval = "100ms"
}

build {
  sources = ["source.armfree-aws.test"]

  provisioner "file" {
    source      = "${path.root}/../../goss/testdata/pass.json"
    destination = "/home/admin/pass.json"
  }

  provisioner "shell" {
    inline = ["printf '#!/bin/sh\\ncat /home/admin/pass.json\\n' >/home/admin/goss", "chmod 755 /home/admin/goss"]
  }

  provisioner "armfree-goss" {
    tests         = ["${path.root}/stream/${var.gossfile}.goss.yaml"]
    skip_install  = true
    download_path = "/home/admin/goss"
    min_tests     = 7
  }

  post-processor "armfree-oci-cross-tenancy-copy" {}
}
