# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0

# A team's golden image: everything by name and from a file of variables.

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    oracle = { version = "~> 1.0", source = "github.com/hashicorp/oracle" }
  }
}

variable "oci" {
  type = object({
    tenancy     = string
    user        = string
    fingerprint = string
    region      = string
  })
  default = {
    tenancy     = env("CI_TENANCY_OCID")
    user        = env("CI_USER_OCID")
    fingerprint = env("CI_FINGERPRINT")
    region      = env("CI_REGION")
  }
}

variable "oci_key" {
  type      = string
  sensitive = true
  default   = env("CI_KEY")
}

variable "place" {
  type = map(string)
  default = {
    compartment = env("CI_COMPARTMENT_OCID")
    images      = env("CI_CHILD_COMPARTMENT_OCID")
    domain      = env("CI_DOMAIN")
    subnet      = env("CI_SUBNET_OCID")
    group       = env("CI_NSG_OCID")
  }
}

variable "ssh_port" {
  type    = number
  default = env("CI_SSH_PORT")
}

variable "system" { type = string }
variable "release" { type = string }
variable "memory" { type = number }
variable "labels" { type = map(string) }

locals {
  name = format("golden-%s-%s", lower(replace(var.system, " ", "-")), var.release)
  cost = { Operations = { CostCenter = "42", Live = "true" } }
}

source "oracle-oci" "golden" {
  tenancy_ocid           = var.oci.tenancy
  user_ocid              = var.oci.user
  fingerprint            = var.oci.fingerprint
  key                    = var.oci_key
  region                 = var.oci.region
  availability_domain    = var.place["domain"]
  compartment_ocid       = var.place["compartment"]
  image_compartment_ocid = var.place["images"]

  base_image_filter {
    operating_system         = var.system
    operating_system_version = var.release
    display_name_search      = "^Canonical-Ubuntu-[0-9.]+-aarch64-"
  }

  shape = "VM.Standard.A1.Flex"
  shape_config {
    ocpus         = 1.0
    memory_in_gbs = var.memory
  }
  disk_size = 64

  create_vnic_details {
    assign_public_ip       = true
    display_name           = "golden vnic"
    hostname_label         = "golden"
    nsg_ids                = [var.place["group"]]
    skip_source_dest_check = false
    subnet_id              = var.place["subnet"]
    tags                   = { net = "build" }
    defined_tags_json      = jsonencode(local.cost)
  }

  instance_name              = "build of ${local.name}"
  instance_tags              = merge(var.labels, { role = "build" })
  instance_defined_tags_json = jsonencode(local.cost)
  metadata = {
    team  = "images"
    shape = "small"
  }
  user_data = <<-EOT
    #!/bin/sh
    echo prepared > /etc/prepared
  EOT

  image_name        = local.name
  tags              = var.labels
  defined_tags_json = jsonencode({ Operations = { CostCenter = "43" } })

  instance_options_are_legacy_imds_endpoints_disabled = false

  ssh_username           = "ubuntu"
  ssh_port               = var.ssh_port
  ssh_timeout            = "5m"
  ssh_handshake_attempts = 50
}

build {
  name    = "team"
  sources = ["source.oracle-oci.golden"]

  provisioner "shell" {
    environment_vars = ["ID=${build.ID}", "WHO=${build.User}", "VIA=${build.ConnType}", "HOST=<${build.Host}>"]
    execute_command  = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    inline = [
      "echo \"said: $(cat /etc/prepared) $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE $WHO $VIA $HOST\"",
      "case \"$ID\" in ocid1.instance.*) echo said: the instance is known ;; esac",
    ]
  }

  post-processors {
    post-processor "manifest" {
      output     = "manifest.json"
      strip_path = true
      custom_data = {
        source = source.name
        type   = source.type
        user   = build.User
        via    = build.ConnType
        key    = build.SSHPublicKey
      }
    }
    post-processor "shell-local" {
      inline = ["echo \"said: $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE\""]
    }
  }
}
