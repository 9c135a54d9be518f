# shellcheck shell=bash
# For each service of a manifest: its DRBD resources (made, first-synced, formatted) and a container on each host.
# What to do is read from the manifest on the witness, which has a YAML parser; how is in guest/usr/local/lib/lab/.

provision() {
    local host
    [[ -r $1 ]] || fail "cannot read $1"
    is_there || fail "the lab is down: examples/lab/lab up"
    for host in $HOSTS; do [[ $(power_of "$host") == on ]] || fail "$host is $(power_of "$host"): examples/lab/lab power $host on"; done
    on_host witness env PYTHONPATH=/opt/hactl/deps python3 /usr/local/lib/lab/what-to-provision <"$1" >"$RUN/wanted" ||
        fail "$1 was not understood; nothing was done"
    number_disks <"$RUN/wanted" >"$RUN/todo" || exit 1
    # shellcheck disable=SC2086
    each provision_host $PAIR || fail "provisioning failed: the reason is above"
    while read -r word name number fstype; do
        [[ $word == disk ]] || continue
        provision_disk "$name" "$fstype" || fail "disk $name could not be made (/dev/ubd number $number)"
    done <"$RUN/todo"
    awk '$1 == "disk" {print "lab: disk " $2 ": on both hosts, Secondary"} $1 == "container" {print "lab: container " $2 ": on both hosts"}' "$RUN/todo"
}

# `disk NAME FSTYPE` -> `disk NAME NUMBER FSTYPE`; a name keeps its number for as long as the lab is up. In a whole site
# a container has a number too, of which its own address is made.
number_disks() {
    local word name rest number
    touch "$RUN/disks/taken"
    while read -r word name rest; do
        if [[ $word == container && $SITE ]]; then
            grep -qx "$name" "$RUN/disks/contained" 2>/dev/null || echo "$name" >>"$RUN/disks/contained"
            rest=$(grep -nx "$name" "$RUN/disks/contained" | cut -d: -f1)
        elif [[ $word == disk ]]; then
            grep -qx "$name" "$RUN/disks/taken" || echo "$name" >>"$RUN/disks/taken"
            number=$(grep -nx "$name" "$RUN/disks/taken" | cut -d: -f1)
            ((number <= DISKS)) || fail "there are only $DISKS data disks: $name is one too many"
            rest="$number $rest"
        fi
        echo "$word $name $rest"
    done
}

# provision.d/DOMAIN/ is laid over that container's root, then provision.d/DOMAIN@HOST/.
provision_host() {
    # shellcheck disable=SC2016
    tar -C "$HERE/provision.d" --owner=0 --group=0 --mode=go-w -cf - . |
        on_host "$1" sh -c 'rm -rf /srv/site && mkdir -p /srv/site && tar -C /srv/site -xf -' || return 1
    on_host "$1" /usr/local/lib/lab/provision <"$RUN/todo" || { complain "$1 could not be provisioned"; return 1; }
}

provision_disk() {
    local mark=$RUN/disks/$1.made
    [[ ! -e $mark ]] || return 0
    wait_until 60 "disk $1 connects" on_host hosta /usr/local/lib/lab/disk connected "$1" </dev/null || return 1
    on_host hosta /usr/local/lib/lab/disk format "$1" "$2" </dev/null && : >"$mark"
}
