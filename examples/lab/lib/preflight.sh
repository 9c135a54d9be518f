# shellcheck shell=bash
# Can this machine run the lab at all? One sentence when it cannot, with what still works.

preflight() {
    local why=""
    if ((EUID)); then
        why="it needs root"
    elif [[ $(dpkg --print-architecture 2>/dev/null) != amd64 || $(. /etc/os-release && echo "$ID $VERSION_ID") != "debian 12" ]]; then
        why="it needs Debian 12 on amd64"
    elif [[ ! -c /dev/net/tun ]]; then
        why="it needs /dev/net/tun"
    elif (($(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo) < 5000)) && ! is_there; then
        why="it needs 5 GB of free memory"
    fi
    [[ -z $why ]] || fail "this machine cannot run the lab: $why. What still works here: make check, and make contract"
}

TOOLS="user-mode-linux mmdebstrap e2fsprogs iproute2 openssh-client procps psmisc
python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev"

install_tools() {
    local tool missing=""
    for tool in $TOOLS; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$tool" 2>/dev/null) == installed ]] || missing+=" $tool"
    done
    [[ -n $missing ]] || return 0
    say "installing$missing"
    mkdir -p "$CACHE"
    # shellcheck disable=SC2086
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } \
        </dev/null >"$CACHE/apt.log" 2>&1 && return 0
    tail -n 20 "$CACHE/apt.log" >&2
    complain "these packages could not be installed:$missing; apt's output: $CACHE/apt.log"
    return 1
}
