# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

variable "ssh_port" {
  type    = number
  default = 22
}

variable "ssh_username" {
  default = "debian"
}

variable "goss" {
  type    = list(string)
  default = []
}

variable "scripts" {
  type    = list(string)
  default = []
}

variable "apt_source" {
  default = ""
}

variable "image_method" {
  default = "auto"
}

source "armfree-oci" "debian" {
  ssh_username   = var.ssh_username
  ssh_port       = var.ssh_port
  ssh_timeout    = "15m"
  image_name     = "captured"
  image_method   = var.image_method
  capture_bucket = "images"
  image_timeout  = "1h"
}

build {
  sources = ["source.armfree-oci.debian"]

  provisioner "shell" {
    inline = [
      "echo by the build | sudo tee /etc/made >/dev/null",
      # Where the simulated machine finds Object Storage; on a real one a name server knows.
      "echo 169.254.10.20 objectstorage.eu-frankfurt-1.oraclecloud.com | sudo tee -a /etc/hosts >/dev/null",
    ]
  }

  post-processor "armfree-oci-cross-tenancy-copy" {
    dest_image_name = "captured"
  }
}
