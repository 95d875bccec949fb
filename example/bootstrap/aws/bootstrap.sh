#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Makes what an AWS account needs before armfree-aws can build in it, and nothing more: a user (or a role that jobs of
# GitHub Actions assume), an inline policy, a policy for each feature, an access key and a key pair. Needs the AWS CLI 2
# and credentials that may change IAM; the README beside it says what each policy is for.
set -eu
LC_ALL=C AWS_PAGER=
export LC_ALL AWS_PAGER

usage() {
  cat <<'TEXT'
usage: bootstrap.sh [plan|apply|undo|policies] [OPTION...]

  plan        says what apply would do, and changes nothing (the default)
  apply       makes or updates everything; a second time it finds nothing to do
  undo        removes all of it; with --dry-run it says what it would remove
  policies    prints the policies, filled in

  --name NAME             the user, or with --github the role (packer-graviton)
  --regions R[,R...]      where builds and copies may be; they begin in the first (AWS_REGION)
  --types T[,T...]        instance types, * and ? match (t4g.*,*g.medium)
  --image-owners A[,A...] whose images machines may start from: account ids, self, amazon (amazon,136693071363,self)
  --with F[,F...]         features to add: spot create-image key-pair copy share replace ssm ebs-direct export-image
  --without F[,F...]      features to leave out: security-group
  --github OWNER/REPO     a role for this repository's jobs instead of a user with keys
  --github-ref REF[,REF]  the refs whose jobs may assume it (refs/heads/main)
  --export-bucket NAME    the bucket of S3, which exists, into which EC2 exports images (export-image)
  --secrets FILE          makes the access key and the key pair if there are none, and writes them here: new, mode 0600
  --new-access-key        makes another access key; the old one stays until you delete it
  --new-key-pair          replaces the key pair
  --no-key-pair           makes no key pair: builds make a key of their own
  --source-ami ID         what the list at the end says of AWS_SOURCE_AMI (a parameter with the newest Debian 12)
  --subnet ID             and of AWS_SUBNET_ID
TEXT
}

die() {
  printf 'bootstrap: error: %s\n' "$*" >&2
  exit 1
}

mode=plan dry='' name=packer-graviton regions=${AWS_REGION:-${AWS_DEFAULT_REGION:-}} types='t4g.*,*g.medium'
owners=amazon,136693071363,self with='' without='' github='' refs=refs/heads/main secrets='' new_access_key='' new_key_pair=''
key_pair=yes source_ami=resolve:ssm:/aws/service/debian/release/12/latest/arm64 subnet='' bucket=''
all_features='image security-group spot create-image key-pair copy share replace ssm ebs-direct export-image'

case ${1:-} in
plan | apply | undo | policies) mode=$1 && shift ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
  -h | --help) usage && exit 0 ;;
  --dry-run) dry=yes && shift && continue ;;
  --new-access-key) new_access_key=yes && shift && continue ;;
  --new-key-pair) new_key_pair=yes && shift && continue ;;
  --no-key-pair) key_pair='' && shift && continue ;;
  --*=*) option=${1%%=*} value=${1#*=} && shift ;;
  --*)
    [ $# -ge 2 ] || die "$1 needs a value"
    option=$1 value=$2 && shift 2
    ;;
  *) usage >&2 && die "there is no command $1" ;;
  esac
  case $option in
  --name) name=$value ;;
  --regions) regions=$value ;;
  --types) types=$value ;;
  --image-owners) owners=$value ;;
  --with) with=$value ;;
  --without) without=$value ;;
  --github) github=$value ;;
  --github-ref) refs=$value ;;
  --export-bucket) bucket=$value ;;
  --secrets) secrets=$value ;;
  --source-ami) source_ami=$value ;;
  --subnet) subnet=$value ;;
  *) usage >&2 && die "there is no option $option" ;;
  esac
done
[ "$mode" != plan ] || dry=yes

# fits OPTION VALUE CHARACTERS: values go into policies and commands, so only what they are made of is let in.
fits() {
  case $2 in
  '' | *[!$3]*) die "$1: \"$2\" is not one; it has letters, digits and the like only" ;;
  esac
}
fits --name "$name" 'A-Za-z0-9_-'
[ "${#name}" -le 50 ] || die "--name: at most 50 characters"
[ -n "$regions" ] || die "no region is set: use --regions or AWS_REGION"
fits --regions "$regions" 'a-z0-9,-'
fits --types "$types" 'a-z0-9.*?,-'
fits --image-owners "$owners" 'a-z0-9,-'
[ -z "$github" ] || fits --github "$github" 'A-Za-z0-9._/-'
fits --github-ref "$refs" 'A-Za-z0-9._/,-'
[ -z "$bucket" ] || fits --export-bucket "$bucket" 'a-z0-9.-'
region=${regions%%,*}

has() { case ",$1," in *",$2,"*) return 0 ;; *) return 1 ;; esac; }
for f in $(printf %s "$with,$without" | tr , ' '); do
  has "$(printf %s "$all_features" | tr ' ' ,)" "$f" || die "there is no feature $f; there are: $all_features"
done
! has "$without" image || die "without the feature image no image can be made"
! has "$with" spot || with=$with,create-image # a spot machine cannot be stopped, so EC2 makes its image
wanted() {
  case $1 in
  image) return 0 ;;
  security-group) ! has "$without" "$1" ;;
  *) has "$with" "$1" && ! has "$without" "$1" ;;
  esac
}

count=0
for f in $all_features; do
  ! wanted "$f" || count=$((count + 1))
done
[ "$count" -le 10 ] || die "that makes $count policies, and IAM allows ten: leave one out by --without (ebs-direct and export-image are two ways to do the same)"
! wanted export-image || [ -n "$bucket" ] || die "export-image needs --export-bucket"

command -v aws >/dev/null || die "the AWS CLI 2 is not on PATH"
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

cloud() { aws --region "$region" --output text "$@"; }

# look CALL...: what a reading call says, in $out. It fails if there is no such thing; any other error is the end.
look() {
  if out=$(cloud "$@" 2>"$tmp/error"); then return 0; fi
  out=
  grep -q -e NoSuchEntity -e NotFound "$tmp/error" || die "aws $1 $2: $(cat "$tmp/error")"
  return 1
}

# change WORDS CALL...: does it, or says that it would.
changes=0
change() {
  words=$1 && shift
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    echo "would $words"
    return
  fi
  cloud "$@" >/dev/null || exit 1
  echo "done: $words"
}

# What this script makes has a tag, or a path; it touches nothing of the same name that has not.
tag=armfree:bootstrap
tags="Key=$tag,Value=$name"
check_ours() { # WHAT; its tag is in $out
  [ "$out" = "$name" ] || die "$1 exists, and was not made by this script (it lacks the tag $tag = $name): choose another --name"
}

account=$(cloud sts get-caller-identity --query Account) || exit 1
owners=$(printf %s ",$owners," | sed "s/,self,/,$account,/;s/^,//;s/,\$//")
json_list() { printf %s "$1" | sed 's/,/","/g'; }
fill() { # FILE: a policy with its blanks filled in
  subjects=$(printf %s "$refs" | sed "s|[^,][^,]*|repo:$github:ref:&|g")
  sed -e "s|@NAME@|$name|g" -e "s|@ACCOUNT@|$account|g" -e "s|@REGIONS@|$(json_list "$regions")|g" \
    -e "s|@TYPES@|$(json_list "$types")|g" -e "s|@SUBJECTS@|$(json_list "$subjects")|g" \
    -e "s|@OWNERS@|$(json_list "$owners")|g" -e "s|@BUCKET@|$bucket|g" "$here/policies/$1.json"
}
plain() { tr -d ' \n\t\r'; } # what IAM counts and compares: white space means nothing
same() { [ "$(printf %s "$1" | plain)" = "$(printf %s "$2" | plain)" ]; }

kind=user
[ -z "$github" ] || kind=role
provider=arn:aws:iam::$account:oidc-provider/token.actions.githubusercontent.com

make_principal() {
  if [ $kind = user ]; then
    if look iam get-user --user-name "$name" --query "User.Tags[?Key=='$tag'].Value|[0]"; then
      check_ours "the user $name"
    else
      change "make the user $name" iam create-user --user-name "$name" --tags "$tags"
    fi
    return
  fi
  # AWS checks GitHub's certificate by its own list of authorities; older versions of the CLI ask for a thumbprint all
  # the same, which then means nothing.
  look iam get-open-id-connect-provider --open-id-connect-provider-arn "$provider" --query Url ||
    change "make the identity provider of GitHub Actions" iam create-open-id-connect-provider --url https://token.actions.githubusercontent.com \
      --client-id-list sts.amazonaws.com --thumbprint-list 1c58a3a8518e8759bf075b76b750d4f2df264fcd --tags "$tags"
  make_role "$name" trust-github "for the jobs of $github"
}

make_role() { # NAME TRUST WORDS
  trust=$(fill "$2")
  if ! look iam get-role --role-name "$1" --query "Role.Tags[?Key=='$tag'].Value|[0]"; then
    change "make the role $1 $3" iam create-role --role-name "$1" --assume-role-policy-document "$trust" --tags "$tags"
    return
  fi
  check_ours "the role $1"
  look iam get-role --role-name "$1" --query Role.AssumeRolePolicyDocument --output json
  same "$out" "$trust" || change "change whom the role $1 trusts" iam update-assume-role-policy --role-name "$1" --policy-document "$trust"
}

make_inline() {
  document=$(fill build)
  size=$(printf %s "$document" | plain | wc -c)
  [ $kind = role ] || [ "$size" -le 2048 ] ||
    die "the inline policy has $size characters, and a user's may have 2048: name fewer regions, types or owners, or use * in them"
  if look iam get-$kind-policy --$kind-name "$name" --policy-name "$name-inline" --query PolicyDocument --output json && same "$out" "$document"; then return; fi
  change "write the inline policy $name-inline ($size characters)" iam put-$kind-policy --$kind-name "$name" --policy-name "$name-inline" --policy-document "$document"
}

# Policies have a path of their own, by which one list shows which of them this script made.
path=/armfree/$name/
policy_arn() { echo "arn:aws:iam::$account:policy$path$name-$1"; }

# The policies that there are, and which of them are attached; each word is NAME=VERSION or an ARN.
find_policies() {
  look iam list-policies --scope Local --path-prefix "$path" --query "Policies[].[join('=', [PolicyName, DefaultVersionId])]" || out=
  policies=" $(printf %s "$out" | tr '\t\n' '  ') "
  look iam list-attached-$kind-policies --$kind-name "$name" --query 'AttachedPolicies[].PolicyArn' || out=
  attached=" $(printf %s "$out" | tr '\t\n' '  ') "
}

# find_policy FEATURE: its version, in $version, if there is such a policy.
find_policy() {
  version=${policies#*" $name-$1="}
  [ "$version" != "$policies" ] || return 1
  version=${version%% *}
}

make_policy() { # FEATURE
  arn=$(policy_arn "$1")
  document=$(fill "$1")
  if ! find_policy "$1"; then
    change "make the policy $name-$1" iam create-policy --path "$path" --policy-name "$name-$1" --policy-document "$document" --tags "$tags"
  else
    look iam get-policy-version --policy-arn "$arn" --version-id "$version" --query PolicyVersion.Document --output json
    if ! same "$out" "$document"; then
      drop_versions "$arn" # there may be five
      change "change the policy $name-$1" iam create-policy-version --policy-arn "$arn" --set-as-default --policy-document "$document"
    fi
  fi
  case $attached in
  *" $arn "*) ;;
  *) change "attach the policy $name-$1" iam attach-$kind-policy --$kind-name "$name" --policy-arn "$arn" ;;
  esac
}

drop_versions() { # ARN
  look iam list-policy-versions --policy-arn "$1" --query 'Versions[?!IsDefaultVersion].VersionId' || return 0
  for v in $out; do
    change "remove the old version $v of ${1##*/}" iam delete-policy-version --policy-arn "$1" --version-id "$v"
  done
}

drop_policy() { # FEATURE
  find_policy "$1" || return 0
  arn=$(policy_arn "$1")
  case $attached in
  *" $arn "*) change "detach the policy $name-$1" iam detach-$kind-policy --$kind-name "$name" --policy-arn "$arn" ;;
  esac
  drop_versions "$arn"
  change "remove the policy $name-$1" iam delete-policy --policy-arn "$arn"
}

core=arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore
machine=$name-machine

make_machine() { # what a machine is, whose agent opens the way in
  make_role "$machine" trust-machine "for machines"
  look iam list-attached-role-policies --role-name "$machine" --query 'AttachedPolicies[].PolicyArn' || out=
  case $out in
  *"$core"*) ;;
  *) change "let machines use Systems Manager" iam attach-role-policy --role-name "$machine" --policy-arn "$core" ;;
  esac
  look iam get-instance-profile --instance-profile-name "$machine" --query InstanceProfile.InstanceProfileName ||
    change "make the instance profile $machine" iam create-instance-profile --instance-profile-name "$machine" --tags "$tags"
  look iam get-instance-profile --instance-profile-name "$machine" --query 'InstanceProfile.Roles[].RoleName' || out=
  [ "$out" = "$machine" ] || change "put the role into it" iam add-role-to-instance-profile --instance-profile-name "$machine" --role-name "$machine"
}

drop_machine() {
  if look iam get-instance-profile --instance-profile-name "$machine" --query "InstanceProfile.Tags[?Key=='$tag'].Value|[0]"; then
    check_ours "the instance profile $machine"
    look iam get-instance-profile --instance-profile-name "$machine" --query 'InstanceProfile.Roles[].RoleName'
    [ -z "$out" ] || change "take the role out of the instance profile $machine" iam remove-role-from-instance-profile --instance-profile-name "$machine" --role-name "$machine"
    change "remove the instance profile $machine" iam delete-instance-profile --instance-profile-name "$machine"
  fi
  look iam get-role --role-name "$machine" --query "Role.Tags[?Key=='$tag'].Value|[0]" || return 0
  check_ours "the role $machine"
  look iam list-attached-role-policies --role-name "$machine" --query 'AttachedPolicies[].PolicyArn'
  for p in $out; do
    change "take ${p##*/} from the role $machine" iam detach-role-policy --role-name "$machine" --policy-arn "$p"
  done
  change "remove the role $machine" iam delete-role --role-name "$machine"
}

exporter=$name-export

make_exporter() { # what EC2 is when it writes an image into the bucket
  make_role "$exporter" trust-vmie "for EC2, which exports images"
  document=$(fill exporter)
  if look iam get-role-policy --role-name "$exporter" --policy-name "$exporter" --query PolicyDocument --output json && same "$out" "$document"; then return; fi
  change "let it write into the bucket $bucket" iam put-role-policy --role-name "$exporter" --policy-name "$exporter" --policy-document "$document"
}

drop_exporter() {
  look iam get-role --role-name "$exporter" --query "Role.Tags[?Key=='$tag'].Value|[0]" || return 0
  check_ours "the role $exporter"
  ! look iam get-role-policy --role-name "$exporter" --policy-name "$exporter" --query PolicyName ||
    change "take its policy from the role $exporter" iam delete-role-policy --role-name "$exporter" --policy-name "$exporter"
  change "remove the role $exporter" iam delete-role --role-name "$exporter"
}

# EC2 makes the role of its spot service when it is first needed, if whoever asks may do that. This script may, so that
# builds need not. It is the account's, and stays.
make_spot_role() {
  look iam get-role --role-name AWSServiceRoleForEC2Spot --query Role.RoleName ||
    change "make the account's role for spot machines" iam create-service-linked-role --aws-service-name spot.amazonaws.com
}

# secret NAME VALUE: one more line of the file; printf is part of the shell, so that no other process sees it.
secret() { printf "%s='%s'\n" "$1" "$2" >>"$secrets"; }

open_secrets() {
  [ -n "$opened" ] || (umask 077 && set -C && : >"$secrets") 2>/dev/null || die "--secrets: $secrets exists or cannot be made; nothing secret was made"
  opened=yes
}

opened=
make_access_key() {
  look iam list-access-keys --user-name "$name" --query 'AccessKeyMetadata[].AccessKeyId' || out=
  if [ -n "$out" ] && [ -z "$new_access_key" ]; then
    echo "there is an access key; --new-access-key makes another"
    return
  fi
  if [ -z "$secrets" ]; then
    echo "no access key is made: --secrets says where it goes"
    return
  fi
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    echo "would make an access key, and write it to $secrets"
    return
  fi
  open_secrets
  made=$(cloud iam create-access-key --user-name "$name" --query 'AccessKey.[AccessKeyId,SecretAccessKey]') || exit 1
  secret AWS_ACCESS_KEY_ID "${made%%	*}"
  secret AWS_SECRET_ACCESS_KEY "${made#*	}"
  echo "done: make an access key; it is in $secrets"
}

key=$name-key
make_key_pair() {
  if look ec2 describe-key-pairs --key-names "$key" --query "KeyPairs[0].Tags[?Key=='$tag'].Value|[0]"; then
    check_ours "the key pair $key in $region"
    if [ -z "$new_key_pair" ]; then
      echo "there is a key pair $key in $region; --new-key-pair replaces it"
      return
    fi
  fi
  found=$out
  if [ -z "$secrets" ]; then
    echo "no key pair is made: --secrets says where it goes"
    return
  fi
  [ -n "$dry" ] || open_secrets
  [ -z "$found" ] || change "remove the key pair $key in $region" ec2 delete-key-pair --key-name "$key"
  changes=$((changes + 1))
  if [ -n "$dry" ]; then
    echo "would make the key pair $key in $region, and write it to $secrets"
    return
  fi
  made=$(cloud ec2 create-key-pair --key-name "$key" --key-type ed25519 --query KeyMaterial \
    --tag-specifications "ResourceType=key-pair,Tags=[{$tags}]") || exit 1
  secret AWS_SSH_KEYPAIR_NAME "$key"
  secret AWS_SSH_PRIVATE_KEY "$made
"
  echo "done: make the key pair $key in $region; it is in $secrets"
}

# What is to be stored where builds run. What is no secret is shown.
list() {
  echo
  echo "What CI needs in its environment (secrets are never shown here${secrets:+; those that were made are in $secrets}):"
  if [ $kind = user ]; then
    echo "  AWS_ACCESS_KEY_ID      secret"
    echo "  AWS_SECRET_ACCESS_KEY  secret"
  else
    echo "  AWS_ROLE_ARN           arn:aws:iam::$account:role/$name"
  fi
  echo "  AWS_REGION             $region"
  echo "  AWS_SOURCE_AMI         $source_ami"
  echo "  AWS_SSH_USERNAME       admin (Debian's images)"
  if [ -n "$key_pair" ]; then
    echo "  AWS_SSH_KEYPAIR_NAME   $key"
    echo "  AWS_SSH_PRIVATE_KEY    secret"
  fi
  echo "  AWS_SUBNET_ID          ${subnet:-optional: without it, a subnet of the default VPC}"
  ! wanted ssm || echo "And in the template:   iam_instance_profile = \"$machine\""
  ! wanted export-image || echo "And in the copy:       export_image { s3_bucket_name = \"$bucket\", role_name = \"$exporter\" }"
}

apply() {
  make_principal
  make_inline
  find_policies
  for f in $all_features; do
    if wanted "$f"; then make_policy "$f"; else drop_policy "$f"; fi
  done
  if wanted ssm; then make_machine; else drop_machine; fi
  if wanted export-image; then make_exporter; else drop_exporter; fi
  ! wanted spot || make_spot_role
  [ $kind = role ] || make_access_key
  [ -z "$key_pair" ] || make_key_pair
  [ "$changes" -gt 0 ] || echo "nothing to do"
  list
}

undo() {
  for kind in user role; do
    look iam get-$kind --$kind-name "$name" --query "$(echo $kind | sed 's/^u/U/;s/^r/R/').Tags[?Key=='$tag'].Value|[0]" || continue
    check_ours "the $kind $name"
    if [ $kind = user ]; then
      look iam list-access-keys --user-name "$name" --query 'AccessKeyMetadata[].AccessKeyId'
      for k in $out; do
        change "remove the access key $k" iam delete-access-key --user-name "$name" --access-key-id "$k"
      done
    fi
    ! look iam get-$kind-policy --$kind-name "$name" --policy-name "$name-inline" --query PolicyName ||
      change "remove the inline policy $name-inline" iam delete-$kind-policy --$kind-name "$name" --policy-name "$name-inline"
    find_policies
    for f in $all_features; do drop_policy "$f"; done
    change "remove the $kind $name" iam delete-$kind --$kind-name "$name"
  done
  drop_machine
  drop_exporter
  if look iam get-open-id-connect-provider --open-id-connect-provider-arn "$provider" --query "Tags[?Key=='$tag'].Value|[0]" && [ "$out" = "$name" ]; then
    change "remove the identity provider of GitHub Actions" iam delete-open-id-connect-provider --open-id-connect-provider-arn "$provider"
  fi
  if look ec2 describe-key-pairs --key-names "$key" --query "KeyPairs[0].Tags[?Key=='$tag'].Value|[0]"; then
    check_ours "the key pair $key in $region"
    change "remove the key pair $key in $region" ec2 delete-key-pair --key-name "$key"
  fi
  [ "$changes" -gt 0 ] || echo "nothing to do"
}

case $mode in
plan | apply) apply ;;
undo) undo ;;
policies)
  for f in build $all_features; do
    [ "$f" = build ] || wanted "$f" || continue
    echo "# $name-$(echo "$f" | sed 's/^build$/inline/')"
    fill "$f"
  done
  ;;
esac
