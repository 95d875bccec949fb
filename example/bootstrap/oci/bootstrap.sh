#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Makes what an OCI tenancy needs before armfree-oci can build in it, or before an image can be copied into it: a
# compartment, a group, a user with an API key, a policy, and in a tenancy that builds a bucket and a network. Needs the
# OCI CLI, openssl, and credentials of an administrator; the README beside it says what each part is for.
#
# Unverified against the real service: its commands were held against the source of OCI CLI, and it was run with a
# double of it only.
set -eu
LC_ALL=C
export LC_ALL

usage() {
  cat <<'TEXT'
usage: bootstrap.sh [plan|apply|undo] --tenancy OCID [OPTION...]

  plan    says what apply would do, and changes nothing (the default)
  apply   makes or updates everything; a second time it finds nothing to do
  undo    removes all of it; with --dry-run it says what it would remove

  --tenancy OCID        the tenancy (OCI_TENANCY_OCID)
  --role ROLE           build, or production: where images are copied to (build)
  --profile NAME        the profile of OCI CLI's configuration
  --region REGION       where to build, or to copy to (OCI_REGION, else the home region)
  --name NAME           of compartment, group, user, policy and network (armfree-build, armfree-production)
  --compartment OCID    a compartment that exists, instead of a new one
  --bucket NAME         (armfree-images)
  --email ADDRESS       of the user; some tenancies ask for one
  --ssh-from CIDR       from where the machine is reached over SSH (0.0.0.0/0: hosted runners have no fixed address)
  --no-private-subnet   no NAT gateway and no private subnet
  --no-network          no network at all; there is one
  --with bastion        lets builds use OCI Bastion
  --with verify         lets copies be started in the production tenancy, by the block verify (production)
  --secrets FILE        makes an API key if there is none, and writes it here: new, mode 0600
  --new-api-key         makes another API key; the old one stays until you delete it
  --pause SECONDS       between tries, while OCI does not know yet what was just made (10)
TEXT
}

die() {
  printf 'bootstrap: error: %s\n' "$*" >&2
  exit 1
}

mode=plan dry='' tenancy=${OCI_TENANCY_OCID:-${OCI_CLI_TENANCY:-}} role=build region=${OCI_REGION:-${OCI_CLI_REGION:-}} name=''
compartment='' bucket=armfree-images email='' ssh_from=0.0.0.0/0 private=yes network=yes with='' secrets='' new_api_key='' pause=10
case ${1:-} in
plan | apply | undo) mode=$1 && shift ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit 0 ;;
  --dry-run) dry=yes && shift && continue ;;
  --new-api-key) new_api_key=yes && shift && continue ;;
  --no-private-subnet) private='' && shift && continue ;;
  --no-network) network='' && shift && continue ;;
  --*=*) option=${1%%=*} value=${1#*=} && shift ;;
  --*)
    [ $# -ge 2 ] || die "$1 needs a value"
    option=$1 value=$2 && shift 2
    ;;
  *) usage >&2 && die "there is no command $1" ;;
  esac
  case $option in
  --tenancy) tenancy=$value ;;
  --role) role=$value ;;
  --profile) OCI_CLI_PROFILE=$value && export OCI_CLI_PROFILE ;;
  --region) region=$value ;;
  --name) name=$value ;;
  --compartment) compartment=$value ;;
  --bucket) bucket=$value ;;
  --email) email=$value ;;
  --ssh-from) ssh_from=$value ;;
  --with) with=$value ;;
  --secrets) secrets=$value ;;
  --pause) pause=$value ;;
  *) usage >&2 && die "there is no option $option" ;;
  esac
done
[ "$mode" != plan ] || dry=yes
case $role in
build) name=${name:-armfree-build} prefix=OCI_ ;;
production) name=${name:-armfree-production} prefix=PROD_OCI_ network='' ;;
*) die "--role: build or production" ;;
esac
case $with in
'' | bastion) ;;
verify) [ "$role" = production ] || die "--with verify goes with --role production: a build may start machines anyway" ;;
*) die "there is no feature $with; there are: bastion, verify" ;;
esac

# fits OPTION VALUE CHARACTERS: values go into policies and commands, so only what they are made of is let in.
fits() {
  case $2 in
  '' | *[!$3]*) die "$1: \"$2\" is not one" ;;
  esac
}
fits --tenancy "$tenancy" 'a-z0-9._-'
fits --name "$name" 'A-Za-z0-9_-'
fits --bucket "$bucket" 'A-Za-z0-9._-'
fits --ssh-from "$ssh_from" '0-9./'
fits --pause "$pause" '0-9'
[ -z "$compartment" ] || fits --compartment "$compartment" 'a-z0-9._-'
for tool in oci openssl; do
  command -v $tool >/dev/null || die "$tool is not on PATH"
done
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

# cloud CALL...: users, groups and policies are changed in the home region, everything else in the one that builds.
home=
cloud() {
  where=$region
  [ "$1" != iam ] || where=$home
  oci ${where:+--region "$where"} "$@"
}

# look CALL...: what a reading call says, in $out. It fails if there is no such thing; any other error is the end. What
# is to be in something that is itself only to be made is not there.
look() {
  out=
  case " $* " in *' (new) '*) return 1 ;; esac
  if out=$(cloud "$@" --raw-output 2>"$tmp/error"); then
    [ -n "$out" ]
    return
  fi
  grep -q '"status": 404' "$tmp/error" || die "oci $1 $2 $3: $(cat "$tmp/error")"
  return 1
}

# What this script makes has a tag, and it touches nothing of the same name without.
tag=armfree-bootstrap
tags="{\"$tag\":\"$name\"}"

# find WHAT CALL...: the id of what a list has, in $id; it must be ours.
find() {
  what=$1 && shift
  look "$@" --query "data[?\"lifecycle-state\"!='DELETED' && \"lifecycle-state\"!='TERMINATED'].join(' ', [id, \"freeform-tags\".\"$tag\" || 'none']) | [0]" || return 1
  id=${out%% *}
  [ "${out#* }" = "$name" ] || die "$what exists, and was not made by this script (it lacks the tag $tag = $name): choose another --name"
}

# try CALL...: what a changing call says. A compartment that was just made is not known everywhere at once.
fresh=
try() {
  n=0
  until cloud "$@" --raw-output 2>"$tmp/error"; do
    n=$((n + 1))
    if [ -z "$fresh" ] || [ $n -ge 30 ] || ! grep -q '"status": 404' "$tmp/error"; then die "oci $1 $2 $3: $(cat "$tmp/error")"; fi
    sleep "$pause"
  done
}

changes=0
# make WHAT CALL...: makes it, or says that it would; its id is in $id.
make() {
  what=$1 && shift
  changes=$((changes + 1))
  id='(new)'
  if [ -n "$dry" ]; then
    echo "would make $what"
    return
  fi
  id=$(try "$@" --query data.id) || exit 1
  echo "done: make $what"
}

# change WORDS CALL...: does it, or says that it would.
change() {
  words=$1 && shift
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    echo "would $words"
    return
  fi
  try "$@" >/dev/null
  echo "done: $words"
}

look iam region-subscription list --tenancy-id "$tenancy" --query "data[?\"is-home-region\"].\"region-name\" | [0]" || die "--tenancy: $tenancy has no home region that this user may see"
home=$out
region=${region:-$home}
own_compartment=
find_compartment() {
  [ -z "$compartment" ] || return 0
  own_compartment=yes
  find "the compartment $name" iam compartment list --compartment-id "$tenancy" --name "$name" --all || return 1
  compartment=$id
}
find_group() { find "the group $name" iam group list --compartment-id "$tenancy" --name "$name" --all && group=$id; }
find_user() { find "the user $name" iam user list --compartment-id "$tenancy" --name "$name" --all && user=$id; }
find_policy() { find "the policy $name" iam policy list --compartment-id "$tenancy" --name "$name" --all && policy=$id; }
find_vcn() { find "the network $name" network vcn list --compartment-id "$compartment" --display-name "$name" --all && vcn=$id; }
# part KIND SUFFIX: a part of the network.
part() { find "the $1 $name$2" network "$1" list --compartment-id "$compartment" --vcn-id "$vcn" --display-name "$name$2" --all; }
is_member() { look iam group list-users --compartment-id "$tenancy" --group-id "$group" --all --query "data[?id=='$user'].id | [0]"; }
find_keys() { look iam user api-key list --user-id "$user" --query "join(' ', data[?\"lifecycle-state\"=='ACTIVE'].fingerprint || \`[]\`)"; }
find_bucket() {
  look os bucket get --namespace-name "$namespace" --bucket-name "$bucket" --query "data.\"freeform-tags\".\"$tag\" || 'none'" || return 1
  [ "$out" = "$name" ] || die "the bucket $bucket exists, and was not made by this script: choose another --bucket"
}

make_principal() {
  find_group || { make "the group $name" iam group create --compartment-id "$tenancy" --name "$name" --description "Builds of armfree" --freeform-tags "$tags" && group=$id; }
  if ! find_user; then
    set -- iam user create --compartment-id "$tenancy" --name "$name" --description "Builds of armfree" --freeform-tags "$tags"
    [ -z "$email" ] || set -- "$@" --email "$email"
    make "the user $name" "$@"
    user=$id
  fi
  is_member || change "put the user into the group" iam group add-user --user-id "$user" --group-id "$group"
}

statements() { # as a list in JSON
  set -- "$here/policies/$role.txt"
  [ -z "$with" ] || set -- "$@" "$here/policies/$with.txt"
  sed -e "s|@NAME@|$name|g" -e "s|@COMPARTMENT@|$compartment|g" -e "s|@BUCKET@|$bucket|g" "$@" | sed -e 's/.*/"&"/' -e '$!s/$/,/' -e '1s/^/[/' -e '$s/$/]/'
}
plain() { tr -d ' \n\t'; }

make_policy() {
  list=$(statements)
  if ! find_policy; then
    make "the policy $name" iam policy create --compartment-id "$tenancy" --name "$name" --description "Builds of armfree" --statements "$list" --freeform-tags "$tags"
    return
  fi
  look iam policy get --policy-id "$policy" --query data.statements
  [ "$(printf %s "$out" | plain)" = "$(printf %s "$list" | plain)" ] ||
    change "change the policy $name" iam policy update --policy-id "$policy" --statements "$list" --version-date '' --force
}

everywhere='"destination":"0.0.0.0/0"'
make_network() {
  find_vcn || { make "the network $name" network vcn create --compartment-id "$compartment" --display-name "$name" --cidr-blocks '["10.80.0.0/16"]' --dns-label armfree \
    --freeform-tags "$tags" --wait-for-state AVAILABLE && vcn=$id; }
  set -- --compartment-id "$compartment" --vcn-id "$vcn" --freeform-tags "$tags" --wait-for-state AVAILABLE
  part internet-gateway "" || make "the internet gateway" network internet-gateway create "$@" --display-name "$name" --is-enabled true
  way_out=$id
  ingress="[{\"protocol\":\"6\",\"source\":\"$ssh_from\",\"tcpOptions\":{\"destinationPortRange\":{\"min\":22,\"max\":22}}},{\"protocol\":\"1\",\"source\":\"0.0.0.0/0\",\"icmpOptions\":{\"type\":3,\"code\":4}}]"
  if ! part security-list ""; then
    make "the rules: SSH from $ssh_from, everything out" network security-list create "$@" --display-name "$name" \
      --ingress-security-rules "$ingress" --egress-security-rules "[{\"protocol\":\"all\",$everywhere}]"
  else
    look network security-list get --security-list-id "$id" --query "join(' ', data.\"ingress-security-rules\"[?protocol=='6'].source)" || out=
    [ "$out" = "$ssh_from" ] || change "let in SSH from $ssh_from instead of $out" network security-list update --security-list-id "$id" --ingress-security-rules "$ingress" --force
  fi
  rules=$id
  make_subnet -public 10.80.0.0/24 false "$way_out" "$@"
  subnet=$id
  [ -n "$private" ] || return 0
  part nat-gateway "" || make "the NAT gateway" network nat-gateway create "$@" --display-name "$name"
  make_subnet -private 10.80.1.0/24 true "$id" "$@"
  private_subnet=$id
}

make_subnet() { # SUFFIX CIDR PROHIBIT WAY-OUT COMMON...
  suffix=$1 cidr=$2 prohibit=$3 out_by=$4 && shift 4
  part route-table "$suffix" || make "the routes of the subnet $name$suffix" network route-table create "$@" --display-name "$name$suffix" \
    --route-rules "[{$everywhere,\"destinationType\":\"CIDR_BLOCK\",\"networkEntityId\":\"$out_by\"}]"
  table=$id
  part subnet "$suffix" || make "the subnet $name$suffix" network subnet create "$@" --display-name "$name$suffix" --cidr-block "$cidr" \
    --dns-label "${suffix#-}" --prohibit-public-ip-on-vnic "$prohibit" --route-table-id "$table" --security-list-ids "[\"$rules\"]"
}

# secret NAME VALUE: one more line of the file; printf is part of the shell, so that no other process sees it.
secret() { printf "%s='%s'\n" "$1" "$2" >>"$secrets"; }

make_api_key() {
  if find_keys && [ -z "$new_api_key" ]; then
    echo "there is an API key; --new-api-key makes another"
    return
  fi
  if [ -z "$secrets" ]; then
    echo "no API key is made: --secrets says where it goes"
    return
  fi
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    echo "would make an API key, and write it to $secrets"
    return
  fi
  (umask 077 && set -C && : >"$secrets") 2>/dev/null || die "--secrets: $secrets exists or cannot be made; nothing secret was made"
  private_key=$(openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null || openssl genrsa 2048 2>/dev/null)
  printf '%s\n' "$private_key" | openssl pkey -pubout -out "$tmp/public.pem"
  secret "${prefix}API_PRIVATE_KEY" "$private_key
"
  fingerprint=$(try iam user api-key upload --user-id "$user" --key-file "$tmp/public.pem" --query data.fingerprint) || exit 1
  secret "${prefix}FINGERPRINT" "$fingerprint"
  echo "done: make an API key; it is in $secrets"
}

list() {
  echo
  echo "What CI needs in its environment (secrets are never shown here${secrets:+; those that were made are in $secrets}):"
  printf '  %-24s %s\n' "${prefix}TENANCY_OCID" "$tenancy" "${prefix}USER_OCID" "$user" "${prefix}FINGERPRINT" secret "${prefix}API_PRIVATE_KEY" secret \
    "${prefix}REGION" "$region" "${prefix}COMPARTMENT_OCID" "$compartment"
  [ "$role" = build ] || return 0
  printf '  %-24s %s\n' OCI_SUBNET_OCID "${subnet:-that of a network of yours}${private_subnet:+ (or $private_subnet, which has no public addresses)}" \
    OCI_BASE_IMAGE_OCID "a Debian 12 for ARM64, see example/README.md" OCI_SSH_USERNAME debian BUILD_OCI_BUCKET "$bucket" BUILD_OCI_NAMESPACE "$namespace"
  echo "For a copy, each OCI_... of the credentials counts for BUILD_OCI_... as well."
}

subnet='' private_subnet='' namespace=''
apply() {
  if ! find_compartment; then
    make "the compartment $name" iam compartment create --compartment-id "$tenancy" --name "$name" --description "Builds of armfree" --freeform-tags "$tags" --wait-for-state ACTIVE
    compartment=$id fresh=yes
  fi
  make_principal
  make_policy
  if [ "$role" = build ]; then
    look os ns get --query data && namespace=$out
    find_bucket || make "the bucket $bucket" os bucket create --namespace-name "$namespace" --compartment-id "$compartment" --name "$bucket" --freeform-tags "$tags"
  fi
  [ -z "$network" ] || make_network
  make_api_key
  [ "$changes" -gt 0 ] || echo "nothing to do"
  list
}

drop() { # WORDS CALL...: removes what was found
  words=$1 && shift
  change "remove $words" "$@" --force
}

undo() {
  if find_compartment; then
    if [ "$role" = build ] && find_vcn; then
      ended='--wait-for-state TERMINATED'
      # shellcheck disable=SC2086 # two words
      for suffix in -public -private; do
        ! part subnet $suffix || drop "the subnet $name$suffix" network subnet delete --subnet-id "$id" $ended
        ! part route-table $suffix || drop "the routes of $name$suffix" network route-table delete --rt-id "$id" $ended
      done
      # shellcheck disable=SC2086
      {
        ! part security-list "" || drop "the rules" network security-list delete --security-list-id "$id" $ended
        ! part nat-gateway "" || drop "the NAT gateway" network nat-gateway delete --nat-gateway-id "$id" $ended
        ! part internet-gateway "" || drop "the internet gateway" network internet-gateway delete --ig-id "$id" $ended
        drop "the network $name" network vcn delete --vcn-id "$vcn" $ended
      }
    fi
    if [ "$role" = build ]; then
      look os ns get --query data && namespace=$out
      ! find_bucket || drop "the bucket $bucket, which must be empty" os bucket delete --namespace-name "$namespace" --bucket-name "$bucket"
    fi
  fi
  ! find_policy || drop "the policy $name" iam policy delete --policy-id "$policy"
  if find_user; then
    if find_keys; then
      for k in $out; do drop "the API key $k" iam user api-key delete --user-id "$user" --fingerprint "$k"; done
    fi
    if find_group && is_member; then drop "the user from the group" iam group remove-user --compartment-id "$tenancy" --user-id "$user" --group-id "$group"; fi
    drop "the user $name" iam user delete --user-id "$user"
  fi
  ! find_group || drop "the group $name" iam group delete --group-id "$group"
  [ -z "$own_compartment" ] || [ -z "$compartment" ] || drop "the compartment $name, which must be empty: images in it are yours" iam compartment delete --compartment-id "$compartment"
  [ "$changes" -gt 0 ] || echo "nothing to do"
}

case $mode in
plan | apply) apply ;;
undo) undo ;;
esac
