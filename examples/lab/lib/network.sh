# shellcheck shell=bash
# One namespace with two bridges, and a tap on each for every host. A cable is pulled by taking the tap out of its bridge:
# a tap that goes down is never recovered by the guest's driver.

inside() { nsenter --net="/run/netns/$NETNS" -- "$@"; }
tap_of() { echo "${1:0:4}${1: -1}-${2:0:3}"; } # hosta lan -> hosta-lan; 15 characters at most
netns_there() { [[ -e /run/netns/$NETNS ]] && inside true 2>/dev/null; }

make_network() {
    local host wire
    mountpoint -q /run/netns || : >"$RUN/netns-was-not-mounted"
    netns_there || { rm -f "/run/netns/$NETNS" && ip netns add "$NETNS" || return 1; }
    inside ip link set lo up || return 1
    for wire in lan replication; do
        inside ip link show "$wire" >/dev/null 2>&1 || {
            inside ip link add "$wire" type bridge stp_state 0 forward_delay 0 mcast_snooping 0 &&
                inside ip link set "$wire" up || return 1
        }
    done
    inside ip address replace 192.0.2.254/24 dev lan &&
        inside ip address replace 2001:db8::fe/64 dev lan nodad &&
        inside ip address replace 198.51.100.254/24 dev replication || return 1
    for host in $HOSTS; do
        for wire in lan replication; do
            [[ $host == witness && $wire == replication ]] || plug_new "$host" "$wire" || return 1
        done
    done
}

# One segment a frame: a guest's driver cuts anything longer than its MTU, and a sixth of all TCP segments are lost.
plug_new() {
    local tap
    tap=$(tap_of "$1" "$2")
    inside ip link show "$tap" >/dev/null 2>&1 && return 0
    inside ip tuntap add dev "$tap" mode tap && inside ip link set "$tap" gso_max_segs 1 gso_max_size 1500 &&
        inside ip link set "$tap" master "$2" up
}

link() {
    known_host "$1"
    [[ $2 == lan || $2 == replication ]] || fail "there is no link $2; there are: lan, replication"
    [[ $1 != witness || $2 == lan ]] || fail "the witness has no replication link"
    netns_there || fail "the lab is down: examples/lab/lab up"
    case $3 in
    up) inside ip link set "$(tap_of "$1" "$2")" master "$2" && rm -f "$RUN/links/$1.$2.down" ;;
    down) : >"$RUN/links/$1.$2.down" && inside ip link set "$(tap_of "$1" "$2")" nomaster ;;
    *) misused "link HOST lan|replication up|down" ;;
    esac
}

cable_of() {
    if [[ $1 == witness && $2 == replication ]]; then echo -; elif [[ -e $RUN/links/$1.$2.down ]]; then echo down; else echo up; fi
}

# /run/netns is a mount that the first `ip netns add` of a machine makes.
remove_network() {
    [[ ! -e /run/netns/$NETNS ]] || ip netns delete "$NETNS"
    if [[ -e $RUN/netns-was-not-mounted && -z $(ls -A /run/netns) ]] && mountpoint -q /run/netns; then umount /run/netns; fi
}
