# shellcheck shell=bash
# The image that all hosts start from: Debian with the UML kernel's modules, guest/ and hactl's Python packages.
# Cached under the hash of what it depends on.

PACKAGES="systemd-sysv,udev,dbus,kmod,iproute2,iputils-ping,iputils-arping,drbd-utils,libvirt-daemon,\
libvirt-daemon-driver-lxc,libvirt-daemon-system,libvirt-clients,etcd-server,etcd-client,nfs-kernel-server,nfs-common,\
rpcbind,python3,e2fsprogs,xfsprogs,procps,psmisc,openssh-server,systemd-container,tcpdump,jq"

modules() { echo /usr/lib/uml/modules/*; }

image() {
    local hash
    hash=$({
        echo "$PACKAGES" && modules && cat "$HERE/lib/image.sh" "$TREE/requirements.lock"
        find "$HERE/guest" -type f | sort | xargs cat
    } | sha256sum | cut -c 1-16)
    echo "$CACHE/base-$hash.img"
}

build_image() {
    local target root log
    target=$(image)
    [[ ! -s $target ]] || return 0
    say "building the image, about two minutes"
    mkdir -p "$CACHE"
    rm -rf "$CACHE"/*.part "$CACHE"/rootfs.*
    root=$CACHE/rootfs.$$
    log=$CACHE/build.log
    : >"$log"
    if ! { bootstrap "$root" && furnish "$root" && python_packages "$root" && pack "$root" "$target"; } >>"$log" 2>&1; then
        tail -n 25 "$log" >&2
        echo "lab: the image could not be built: $log" >&2
        return 1
    fi
    rm -rf "$root"
    find "$CACHE" -name 'base-*.img' ! -path "$target" -delete
}

bootstrap() { mmdebstrap --variant=minbase --include="$PACKAGES" bookworm "$1"; }

# Modules, guest/ laid over it, a key, and nothing running that a host of the lab does not need.
furnish() {
    local root=$1 kernel
    kernel=$(basename "$(modules)")
    mkdir -p "$root/lib/modules"
    cp -a "$(modules)" "$root/lib/modules/"
    chroot "$root" depmod "$kernel"
    cp -r "$HERE/guest/." "$root/"
    chown -R root:root "$root/etc" "$root/usr/local"
    chmod -R go-w "$root/etc" "$root/usr/local"
    chmod 755 "$root"/usr/local/lib/lab/* "$root/usr/local/bin/hactl"
    rm -f "$CACHE/key" "$CACHE/key.pub"
    ssh-keygen -q -t ed25519 -N "" -C hactl-lab -f "$CACHE/key"
    install -D -m 600 "$CACHE/key.pub" "$root/root/.ssh/authorized_keys"
    systemctl --root="$root" disable rpcbind.service rpcbind.socket nfs-server.service nfs-client.target nfs-blkmap.service \
        remote-fs.target libvirt-guests.service drbd.service
    systemctl --root="$root" mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer logrotate.timer man-db.timer getty.target console-getty.service \
        systemd-networkd-wait-online.service systemd-resolved.service libvirt-guests.service drbd.service
    systemctl --root="$root" enable lab-setup.service lab-drbd.service etcd.service libvirtd.service ssh.service
    : >"$root/etc/machine-id"
    rm -rf "$root"/usr/share/{doc,man,locale}/*
}

# Debian's python3.11 in the guest and this machine's may differ in the last digit: the same wheels fit both.
python_packages() {
    local root=$1 tool
    tool=$(mktemp -d)
    python3 -m venv "$tool"
    "$tool/bin/pip" install -q --disable-pip-version-check --no-compile --target "$root/opt/hactl/deps" -r "$TREE/requirements.lock"
    rm -rf "$tool"
    chroot "$root" python3 -m compileall -q -j 0 /opt/hactl/deps
    chroot "$root" env PYTHONPATH=/opt/hactl/deps python3 -c "import libvirt, grpc.aio, aetcd.rpc, pydantic, pyroute2, yaml, typer"
}

pack() {
    truncate -s 3G "$2.part"
    mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1 -m 0 -d "$1" "$2.part"
    sync "$2.part"
    mv "$2.part" "$2"
}

# The lab's tmpfs, with the image on it: guests read no disk of this machine.
make_room() {
    mountpoint -q "$RUN" || {
        rm -rf "$RUN" && mkdir -p "$RUN"
        mount -t tmpfs -o size=16g,mode=700,exec hactl-lab "$RUN"
    }
    mkdir -p "$RUN"/{guests,disks,logs,ssh,tmp,uml}
    local base
    base=$RUN/$(basename "$(image)")
    [[ -s $base ]] || { cp --sparse=always "$(image)" "$base.part" && mv "$base.part" "$base"; }
    cp "$CACHE/key" "$RUN/key" && chmod 600 "$RUN/key"
    write_ssh_config
}

remove_room() {
    mountpoint -q "$RUN" && umount "$RUN"
    rm -rf "$RUN"
}
