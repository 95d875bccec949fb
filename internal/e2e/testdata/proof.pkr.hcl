# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A machine that is no real Debian is checked by a script in goss's place, which
# prints what goss was seen to print.

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

# What runs on the machine after the check; nothing by default.
variable "afterwards" {
  type    = list(string)
  default = []
}

# A script that is the check's own last act; none by default.
variable "finish" {
  default = ""
}

source "armfree-oci" "test" {
  image_name        = "proof"
  ssh_username      = "debian"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  assign_public_ip  = true
  capacity_interval = "100ms"
}

build {
  sources = ["source.armfree-oci.test"]

  provisioner "file" {
    source      = "${path.root}/../../goss/testdata/pass.json"
    destination = "/home/debian/pass.json"
  }

  provisioner "shell" {
    inline = ["printf '#!/bin/sh\\ncat /home/debian/pass.json\\n' >/home/debian/goss", "chmod 755 /home/debian/goss"]
  }

  provisioner "armfree-goss" {
    goss_file     = "${path.root}/../../goss/testdata/pass.yaml"
    skip_install  = true
    download_path = "/home/debian/goss"
    min_tests     = 7
    finish        = var.finish
  }

  provisioner "shell" {
    inline = length(var.afterwards) > 0 ? var.afterwards : ["true"]
    only   = length(var.afterwards) > 0 ? ["armfree-oci.test"] : ["nothing"]
  }
}
