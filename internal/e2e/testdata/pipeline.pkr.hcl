# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# The pipeline of example/pipeline for a machine that is no real Debian: the
# same components, a provisioner that any shell can run. Everything else comes
# from the environment.

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

variable "capacity_timeout" {
  default = "60s"
}

variable "capacity_reports" {
  default = true
}

variable "free_tier" {
  default = "prefer"
}

# Sizes of the machine, as [{ocpus = 1, memory = 6}]; empty for the plugin's own.
variable "sizes" {
  type    = list(object({ ocpus = number, memory = number }))
  default = []
}

source "armfree-oci" "test" {
  image_name        = "pipeline"
  ssh_username      = "debian"
  ssh_port          = var.ssh_port
  ssh_timeout       = "60s"
  assign_public_ip  = true
  capacity_interval = "100ms"
  capacity_timeout  = var.capacity_timeout
  capacity_reports  = var.capacity_reports
  free_tier         = var.free_tier

  dynamic "shape_config" {
    for_each = var.sizes
    content {
      ocpus         = shape_config.value.ocpus
      memory_in_gbs = shape_config.value.memory
    }
  }
}

build {
  sources = ["source.armfree-oci.test"]
  provisioner "shell" {
    inline = ["echo made by the pipeline > /home/debian/made", "uname -m"]
  }
  post-processor "armfree-oci-cross-tenancy-copy" {
    dest_image_name = "copied"
  }
}
