# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# Asks what is free, and uses the answer. Everything comes from the environment.

packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}

data "armfree-capacity" "now" {
  require_free = true
}

locals {
  open  = [for p in data.armfree-capacity.now.places : p if p.status == "free" && p.allowed]
  first = [for p in data.armfree-capacity.now.places : p if p.first]
}

source "null" "build" {
  communicator = "none"
}

build {
  sources = ["source.null.build"]
  provisioner "shell-local" {
    inline = ["echo '${length(local.open)} of ${length(data.armfree-capacity.now.places)} places, first ${local.first[0].region} ${local.first[0].ocpus}/${local.first[0].memory_in_gbs}, ${local.first[0].free_cores} cores left'"]
  }
}
