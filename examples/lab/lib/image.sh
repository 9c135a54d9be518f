# shellcheck shell=bash
# The image that all hosts start from: Debian with the UML kernel's modules, guest/ and hactl's Python packages.
# Cached under the hash of what it depends on; built on the lab's tmpfs, so a slow disk costs little.

PACKAGES="systemd-sysv,udev,dbus,kmod,iproute2,iputils-ping,iputils-arping,drbd-utils,libvirt-daemon,\
libvirt-daemon-driver-lxc,libvirt-daemon-system,libvirt-clients,etcd-server,etcd-client,nfs-kernel-server,nfs-common,\
rpcbind,python3,e2fsprogs,xfsprogs,procps,psmisc,openssh-server,systemd-container,tcpdump,jq,strace"

[[ -z $SITE ]] || PACKAGES+=",slapd,ldap-utils,pdns-server,pdns-backend-ldap,pdns-backend-sqlite3,bind9-dnsutils,isc-dhcp-server,tftpd-hpa,tftp-hpa,\
lighttpd,curl,git,mercurial,beanstalkd,postgresql-15"

UNITS=("$TREE/examples/systemd/hactl.slice" "$TREE/examples/systemd/hactl-drbd.service")

modules() { echo /usr/lib/uml/modules/*; }

image() {
    local hash
    hash=$({
        echo "$PACKAGES" && dpkg-query -W user-mode-linux && cat "$HERE/lib/image.sh" "$TREE/requirements.lock" "$CACHE/key.pub" "${UNITS[@]}"
        tar -C "$HERE" --sort=name --mtime=@0 --owner=0 --group=0 --mode=go-w -cf - guest
    } | sha256sum | cut -c 1-16)
    echo "$CACHE/base-$hash.img"
}

# The key is the cache's, not the image's: a build that was killed must not part an image from its key.
make_key() {
    mkdir -p "$CACHE" && [[ -s $CACHE/key && -s $CACHE/key.pub ]] && return 0
    rm -f "$CACHE/key" "$CACHE/key.pub"
    ssh-keygen -q -t ed25519 -N "" -C hactl-lab -f "$CACHE/key"
}

# build_image TARGET BUILT: as TARGET in the cache, whole or not at all; BUILT, on the tmpfs, is used at once.
build_image() {
    local target=$1 built=$2 work=$RUN/build log=$CACHE/build.log
    say "building the image, one to three minutes; its log: $log"
    rm -rf "$work" "$CACHE"/*.part "$CACHE"/rootfs.* && mkdir -p "$work"
    if ! { bootstrap "$work/root" "$work" && furnish "$work/root" && pack "$work/root" "$built" "$target"; } >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        complain "the image could not be built; all that was said: $log"
        return 1
    fi
    rm -rf "$work"
    find "$CACHE" -name 'base-*.img' ! -path "$target" -delete
}

# Debian and the Python packages are fetched side by side.
bootstrap() {
    local root=$1 work=$2 packages
    python_packages "$work" &
    packages=$!
    mmdebstrap --variant=minbase --include="$PACKAGES" --aptopt='Acquire::Retries "5"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root" || { wait "$packages"; return 1; }
    wait "$packages" || return 1
    mkdir -p "$root/opt/hactl" && mv "$work/deps" "$root/opt/hactl/deps" || return 1
    local each
    for each in ${SITE:+patroni buildbot}; do
        mv "$work/$each" "$root/opt/$each" && sed -i '1s|.*|#!/usr/bin/python3|' "$root/opt/$each/bin/$each" || return 1
    done
    chroot "$root" python3 -m compileall -q -j 0 /opt/hactl/deps ${SITE:+/opt/patroni /opt/buildbot}
    # What was built against this machine's libvirt and Python must load in there.
    chroot "$root" env PYTHONPATH=/opt/hactl/deps python3 -c "import libvirt, grpc.aio, aetcd.rpc, pydantic, pyroute2, yaml, typer"
}

python_packages() {
    "$PYTHON" -m venv "$1/pip" && "$1/pip/bin/pip" install -q --disable-pip-version-check --retries 5 --no-compile \
        --target "$1/deps" -r "$TREE/requirements.lock" || return 1
    [[ $SITE ]] || return 0
    # shellcheck disable=SC2086
    "$1/pip/bin/pip" install -q --disable-pip-version-check --retries 5 --no-compile --target "$1/patroni" $PATRONI &&
        "$1/pip/bin/pip" install -q --disable-pip-version-check --retries 5 --no-compile --target "$1/buildbot" $BUILDBOT
}

# Of a whole site. Debian's own is two years older.
PATRONI="patroni[etcd3]==4.1.5 psycopg[binary]==3.3.9"
# Not newer: 4.2 and 4.3 write their answers from a thread, which Twisted does not bear: one client that goes too early, and
# the server accepts nobody any more.
BUILDBOT="buildbot==4.1.0 buildbot-www==4.1.0 buildbot-worker==4.1.0 twisted==24.3.0"

# Modules, guest/ laid over it, the key, and nothing running that a host of the lab does not need.
furnish() {
    local root=$1
    mkdir -p "$root/lib/modules" && cp -a "$(modules)" "$root/lib/modules/" || return 1
    chroot "$root" depmod "$(basename "$(modules)")" || return 1
    tar -C "$HERE/guest" --owner=0 --group=0 --mode=go-w -cf - . | tar -C "$root" -xf - || return 1
    install -m 644 "${UNITS[@]}" "$root/etc/systemd/system/" || return 1
    install -D -m 600 "$CACHE/key.pub" "$root/root/.ssh/authorized_keys" || return 1
    systemctl --root="$root" disable rpcbind.service rpcbind.socket nfs-server.service nfs-client.target nfs-blkmap.service \
        remote-fs.target drbd.service || return 1
    systemctl --root="$root" mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer logrotate.timer man-db.timer systemd-tmpfiles-clean.timer getty.target \
        console-getty.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
        systemd-logind.service systemd-binfmt.service libvirt-guests.service drbd.service modprobe@drm.service \
        modprobe@efi_pstore.service systemd-udev-trigger.service systemd-sysusers.service || return 1
    systemctl --root="$root" enable lab-setup.service hactl-drbd.service etcd.service libvirtd.service ssh.service lab-sampler.service || return 1
    [[ -z $SITE ]] || systemctl --root="$root" disable beanstalkd.service lighttpd.service pdns.service postgresql.service || return 1
    [[ -z $SITE ]] || systemctl --root="$root" mask slapd.service pdns.service isc-dhcp-server.service tftpd-hpa.service lighttpd.service \
        beanstalkd.service postgresql.service || return 1
    : >"$root/etc/machine-id"
}

# With a journal: a power cut must be survived.
pack() {
    rm -f "$2" && truncate -s 3G "$2.part" && mke2fs -q -F -t ext4 -E lazy_itable_init=1 -m 0 -d "$1" "$2.part" || return 1
    cp --sparse=always "$2.part" "$3.part" && sync "$3.part" && mv "$3.part" "$3" && sync "$CACHE" && mv "$2.part" "$2"
}
