#!/usr/bin/env bash
# A software Vulkan driver (Mesa's lavapipe), so that the webgpu device can be tried and tested on a machine without a
# GPU. It is never chosen by itself: only by device 'webgpu'. Needs root on Debian; elsewhere it says what to do.
# Debian 12's own Mesa (22.3) is refused by Dawn, so there the driver comes from bookworm-backports.
set -euo pipefail

say() { printf 'setup-vulkan: %s\n' "$*" >&2; }

by_hand() {
  say "$1"
  say 'install a Vulkan driver with your own means; for software rendering that is Mesa 24 or newer:'
  say '  Debian 13, Ubuntu 24.04 and newer:  apt-get install mesa-vulkan-drivers libvulkan1'
  say '  Debian 12:                          the same from bookworm-backports (what this script does, as root)'
  say '  Fedora:                             dnf install mesa-vulkan-drivers vulkan-loader'
  say '  Arch:                               pacman -S vulkan-swrast vulkan-icd-loader'
  say '  macOS, Windows:                     nothing: Metal and Direct3D 12 are part of the system'
  exit "$2"
}

lavapipe() { ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -n 1; }

[ "$(uname -s)" = Linux ] || by_hand 'this is not Linux' 0
id_line=''
codename=''
if [ -r /etc/os-release ]; then
  id_line=$(sed -n 's/^ID\(_LIKE\)\{0,1\}=//p' /etc/os-release | tr '\n"' '  ')
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release | tr -d '"')
fi
case " $id_line " in
  *' debian '* | *' ubuntu '*) ;;
  *) by_hand 'this is neither Debian nor Ubuntu' 1 ;;
esac
[ "$(id -u)" = 0 ] || by_hand 'this needs root, and does not ask for it' 1

export DEBIAN_FRONTEND=noninteractive
suite=()
if [ "$codename" = bookworm ]; then
  # Only what is asked for by name comes from backports: apt gives that suite a low priority by itself.
  if ! grep -rqs 'bookworm-backports' /etc/apt/sources.list /etc/apt/sources.list.d; then
    say 'adding bookworm-backports to the sources of apt'
    # From the mirror that this machine gets bookworm from.
    mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' | awk '$1 == "bookworm" { print $2; exit }')
    [ -n "$mirror" ] || by_hand 'apt has no source for bookworm' 1
    printf '%s\n' 'Types: deb' "URIs: $mirror" 'Suites: bookworm-backports' 'Components: main' \
      'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >/etc/apt/sources.list.d/bookworm-backports.sources
  fi
  suite=(-t bookworm-backports)
fi
apt-get update -qq || say 'apt-get update failed; trying with the lists that are here'
apt-get install -y -qq --no-install-recommends ${suite[@]+"${suite[@]}"} mesa-vulkan-drivers libvulkan1 >&2

driver=$(lavapipe)
[ -n "$driver" ] || by_hand 'the package is installed, but lavapipe is not in it' 1
say "lavapipe is $driver"
say "where a real GPU is present too, choose it by VK_DRIVER_FILES=$driver"
