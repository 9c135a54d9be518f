# shellcheck shell=bash
# One namespace with two bridges, and a tap on each for every host. A cable is pulled by taking the tap out of its bridge:
# a tap that goes down is never recovered by the guest's driver.

inside() { ip netns exec "$NETNS" "$@"; }
tap_of() { echo "${1:0:5}${1: -1}-${2:0:3}"; } # hosta lan -> hostaa-lan; 15 characters at most

make_network() {
    local host wire
    ip netns list | grep -qw "^$NETNS" || ip netns add "$NETNS"
    inside ip link set lo up
    for wire in lan replication; do
        inside ip link show "$wire" >/dev/null 2>&1 || {
            inside ip link add "$wire" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
            inside ip link set "$wire" up
        }
    done
    inside ip address replace 192.0.2.254/24 dev lan
    inside ip address replace 2001:db8::fe/64 dev lan nodad
    for host in $HOSTS; do
        for wire in lan replication; do
            [[ $host == witness && $wire == replication ]] || plug_new "$host" "$wire"
        done
    done
}

plug_new() {
    local tap
    tap=$(tap_of "$1" "$2")
    inside ip link show "$tap" >/dev/null 2>&1 && return 0
    inside ip tuntap add dev "$tap" mode tap
    inside ip link set "$tap" master "$2" up
}

link() {
    known_host "$1"
    [[ $2 == lan || $2 == replication ]] || fail "there is no link $2; there are: lan, replication"
    [[ $1 != witness || $2 == lan ]] || fail "the witness has no replication link"
    case $3 in
    up) inside ip link set "$(tap_of "$1" "$2")" master "$2" ;;
    down) inside ip link set "$(tap_of "$1" "$2")" nomaster ;;
    *) misused "link HOST lan|replication up|down" ;;
    esac
}

cable_of() {
    local shown
    shown=$(inside ip link show "$(tap_of "$1" "$2")" 2>/dev/null) || { echo -; return; }
    if [[ $shown == *"master $2"* ]]; then echo up; else echo down; fi
}

remove_network() {
    if ip netns list 2>/dev/null | grep -qw "^$NETNS"; then ip netns delete "$NETNS"; fi
}
