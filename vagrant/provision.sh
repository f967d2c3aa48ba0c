#!/usr/bin/env bash
# Makes a CentOS 8 machine ready for skep: packages, binary, modules, sysctls, firewall, agent.
#
# Run as root, again and again if need be. With DESTDIR set, files go below that directory and nothing of the running
# machine is touched: for building images, and for tests.
set -euo pipefail

DESTDIR=${DESTDIR:-}
SOURCE=${SKEP_SOURCE:-/tmp/skep}

here() { [ -z "$DESTDIR" ]; }

# CentOS 8 is at its end of life: what is left of it is kept at vault.centos.org.
use_the_vault() {
    local file
    for file in "$DESTDIR"/etc/yum.repos.d/CentOS-*.repo; do
        [ -e "$file" ] || continue
        sed -i -E \
            -e 's|^mirrorlist=|#mirrorlist=|' \
            -e 's|^#? *baseurl=https?://mirror\.centos\.org|baseurl=https://vault.centos.org|' \
            "$file"
    done
}

install_packages() {
    here || return 0
    # skep needs none of these; they are for looking at what it does.
    dnf install -q -y iproute ipvsadm nftables tcpdump bind-utils curl
}

install_skep() {
    install -D -m 755 "$SOURCE/skep" "$DESTDIR/usr/local/bin/skep"
    install -D -m 644 "$SOURCE/skep-agent.service" "$DESTDIR/etc/systemd/system/skep-agent.service"
    # Files from /tmp bring its label along, and SELinux keeps systemd from running them.
    if here && command -v restorecon >/dev/null; then
        restorecon -R /usr/local/bin/skep /etc/systemd/system/skep-agent.service
    fi
    # secure_path of sudo leaves /usr/local/bin out on CentOS.
    mkdir -p "$DESTDIR/usr/bin"
    ln -sfn ../local/bin/skep "$DESTDIR/usr/bin/skep"
}

load_modules() {
    mkdir -p "$DESTDIR/etc/modules-load.d"
    cat >"$DESTDIR/etc/modules-load.d/skep.conf" <<'END'
# Container root file systems and networks
overlay
veth
bridge
br_netfilter
vxlan
# Addresses that are translated
nf_tables
nf_conntrack
nft_chain_nat
nft_masq
nft_numgen
# Load balancing
ip_vs
ip_vs_rr
END
    here || return 0
    local module
    # nft_chain_nat has other names in older kernels: what cannot be loaded is reported by `skep info`.
    for module in $(grep -v '^#' /etc/modules-load.d/skep.conf); do
        modprobe "$module" || echo "provision: no module $module" >&2
    done
}

set_sysctls() {
    mkdir -p "$DESTDIR/etc/sysctl.d"
    cat >"$DESTDIR/etc/sysctl.d/90-skep.conf" <<'END'
# Containers reach the world through this machine.
net.ipv4.ip_forward = 1
# Frames inside a bridge are not the firewall's business.
net.bridge.bridge-nf-call-iptables = 0
net.bridge.bridge-nf-call-ip6tables = 0
# One neighbour for each task of the swarm.
net.ipv4.neigh.default.gc_thresh1 = 8192
net.ipv4.neigh.default.gc_thresh2 = 49152
net.ipv4.neigh.default.gc_thresh3 = 65536
# One watch for each followed log.
fs.inotify.max_user_instances = 8192
END
    here || return 0
    sysctl -q --system
}

# 2377/tcp: managers (mTLS). 4789/udp: VXLAN between nodes. Nothing else is opened: published ports are translated
# before firewalld sees them, and containers live in a zone that may do what they do.
open_firewall() {
    local tool=firewall-cmd
    here || tool=firewall-offline-cmd
    if ! command -v "$tool" >/dev/null; then
        echo "provision: no firewalld here" >&2
        return 0
    fi
    local firewall=("$tool")
    if here; then
        systemctl is-active -q firewalld || return 0
        firewall+=(--permanent)
    else
        firewall+=(--system-config="$DESTDIR/etc/firewalld")
        mkdir -p "$DESTDIR/etc/firewalld"
    fi
    "${firewall[@]}" --zone=public --add-port=2377/tcp
    "${firewall[@]}" --zone=public --add-port=4789/udp
    "${firewall[@]}" --zone=public --add-masquerade
    local bridge
    for bridge in skep0 skep_gwbridge; do
        "${firewall[@]}" --zone=trusted --add-interface="$bridge"
    done
    if here; then
        firewall-cmd --reload
    fi
}

start_agent() {
    here || return 0
    systemctl daemon-reload
    systemctl enable --now skep-agent.service
}

use_the_vault
install_packages
install_skep
load_modules
set_sysctls
open_firewall
start_agent
if here; then
    skep --version
    echo "ready: skep swarm init --advertise-addr $(hostname -I | awk '{print $NF}')"
fi
