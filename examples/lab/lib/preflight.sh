# shellcheck shell=bash
# Can this machine run the lab at all? One sentence when it cannot, with what still works.

preflight() {
    local why=""
    if ((EUID)); then
        why="it needs root"
    elif ! command -v dpkg >/dev/null || [[ $(dpkg --print-architecture) != amd64 ]]; then
        why="it needs Debian on amd64"
    elif [[ ! -c /dev/net/tun ]]; then
        why="it needs /dev/net/tun"
    elif (($(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo) < 5000)) && [[ ! -d $RUN/guests ]]; then
        why="it needs 5 GB of free memory"
    fi
    [[ -z $why ]] || fail "this machine cannot run the lab: $why. What still works here: make check, and make contract"
}

TOOLS="user-mode-linux mmdebstrap e2fsprogs iproute2 openssh-client python3 python3-venv python3-dev gcc pkg-config libvirt-dev"

install_tools() {
    local tool missing=""
    for tool in $TOOLS; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$tool" 2>/dev/null) == installed ]] || missing+=" $tool"
    done
    [[ -n $missing ]] || return 0
    say "installing$missing"
    apt-get update -qq || return 1
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"/tmp/hactl-lab-apt.log" 2>&1 ||
        { tail -n 20 /tmp/hactl-lab-apt.log >&2; return 1; }
}
