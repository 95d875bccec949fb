# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

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

variable "image" {
  type = string
}

variable "name" {
  type = string
}

variable "subnet" {
  type = string
}

variable "report" {
  type = string
}

variable "fail_on_purpose" {
  type    = bool
  default = false
}

source "null" "image" {
  communicator = "none"
}

build {
  sources = ["source.null.image"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_image_ocid = var.image
    dest_image_name   = var.name
    report            = var.report

    destination {
      verify {
        subnet_ocid       = var.subnet
        assign_public_ip  = true
        ssh_username      = "debian"
        ssh_port          = var.ssh_port
        ssh_timeout       = "60s"
        capacity_interval = "100ms"
        tests             = ["${path.root}/../../../example/pipeline/goss/base.goss.yaml", "${path.root}/../../../example/pipeline/goss/first-boot.goss.yaml"]
        goss_files        = ["base.goss.yaml", "first-boot.goss.yaml"]
        retry_timeout     = "0s"
        vars_inline = {
          tailscale       = false
          fail_on_purpose = var.fail_on_purpose
        }
      }
    }
  }
}
