# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Looks at the destination before anything else. Everything comes from the
# environment.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

data "armfree-preflight" "copies" {
  source {}
}

source "null" "build" {
  communicator = "none"
}

build {
  sources = ["source.null.build"]
  provisioner "shell-local" {
    inline = ["echo 'images can go to ${data.armfree-preflight.copies.destinations[0]}'"]
  }
}
