# shellcheck shell=bash
# For each service of a manifest: its DRBD resources (made, first-synced, formatted) and a container on each host.

provision() {
    local word rest host
    [[ -r $1 ]] || fail "cannot read $1"
    on_host witness sh -c 'cat >/run/provision.yaml' <"$1" || fail "the witness does not answer: is the lab up? examples/lab/lab status"
    local plan
    plan=$(on_host witness env PYTHONPATH=/opt/hactl/deps python3 /usr/local/lib/lab/what-to-provision /run/provision.yaml </dev/null) ||
        fail "$1 is no list of manifests"
    for host in $PAIR; do put_site "$host"; done
    while read -r word rest; do
        # shellcheck disable=SC2086
        case $word in
        disk) provision_disk $rest || fail "disk ${rest%% *} could not be made" ;;
        container) provision_container $rest || fail "container ${rest%% *} could not be made" ;;
        esac
    done <<<"$plan"
}

# provision.d/DOMAIN/ is laid over the container's root.
put_site() {
    tar -C "$HERE/provision.d" -cf - . | on_host "$1" sh -c 'rm -rf /srv/site; mkdir -p /srv/site; tar -C /srv/site -xf -; chown -R root:root /srv/site'
}

disk_number() { # stable for as long as the lab is up
    touch "$RUN/disks/taken"
    grep -qx "$1" "$RUN/disks/taken" || echo "$1" >>"$RUN/disks/taken"
    grep -nx "$1" "$RUN/disks/taken" | cut -d: -f1
}

provision_disk() {
    local name=$1 fstype=$2 number host
    number=$(disk_number "$name")
    ((number <= DISKS)) || fail "there are only $DISKS data disks: $name is one too many"
    for host in $PAIR; do on_host "$host" /usr/local/lib/lab/disk make "$name" "$number" </dev/null || return 1; done
    wait_until 60 "disk $name connects" on_host hosta /usr/local/lib/lab/disk connected "$name" </dev/null || return 1
    on_host hosta /usr/local/lib/lab/disk format "$name" "$fstype" </dev/null || return 1
    say "disk $name: ready on both hosts"
}

provision_container() {
    local host
    for host in $PAIR; do on_host "$host" /usr/local/lib/lab/container "$1" </dev/null || return 1; done
    say "container $1: defined on both hosts"
}
