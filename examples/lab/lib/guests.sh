# shellcheck shell=bash
# The guests as processes: each under an `unshare --pid --kill-child` of its own, so that one kill is a clean power cut,
# and a supervisor in there that starts the kernel anew when it resets.

guest_pid() { # of its unshare, when that runs
    local pid
    pid=$(cat "$RUN/guests/$1.pid" 2>/dev/null) || return 1
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == "unshare --pid"*"hactl-lab-$1"* ]] && echo "$pid"
}

start_guests() {
    local host
    for host in $HOSTS; do start_guest "$host" || return 1; done
}

start_guest() {
    local host=$1 disk arguments
    guest_pid "$host" >/dev/null && return 0
    arguments=(mem="$(memory_of "$host")" umid="$host" uml_dir="$RUN/uml" root=/dev/ubda rw con0=null,fd:1 con=null ssl=null quiet
        lab.host="$host" "ubd0=$RUN/disks/$host.cow,$RUN/$(basename "$(image)")"
        "vec0:transport=tap,ifname=$(tap_of "$host" lan),depth=64,mac=52:54:00:00:00:0$(number_of "$host")")
    if [[ $host != witness ]]; then
        arguments+=("vec1:transport=tap,ifname=$(tap_of "$host" replication),depth=64,mac=52:54:00:00:01:0$(number_of "$host")")
        for ((disk = 1; disk <= DISKS; disk++)); do
            [[ -e $RUN/disks/$host-$disk.img ]] || truncate -s "$DISK_SIZE" "$RUN/disks/$host-$disk.img"
            arguments+=("ubd$disk=$RUN/disks/$host-$disk.img")
        done
    fi
    rm -rf "$RUN/uml/$host"
    # 9 is the lock of `alone`: a guest must not hold it.
    inside env TMPDIR="$RUN/tmp" setsid unshare --pid --fork --kill-child --mount-proc \
        bash -c "$SUPERVISOR" "hactl-lab-$host" "$host" "${arguments[@]}" </dev/null >>"$RUN/logs/$host.console" 2>&1 9>&- &
    echo $! >"$RUN/guests/$host.pid"
}

# A guest that resets executes its own program again, which must fail (`exec -a /gone/…`), and is started here.
# shellcheck disable=SC2016
SUPERVISOR='
host=$1; shift
while :; do
    (exec -a "/gone/$host" /usr/bin/linux.uml "$@") >"$0.$$.out" 2>&1 || reset=1
    cat "$0.$$.out"; rm -f "$0.$$.out"
    [[ ${reset:-} ]] || exit 0
    unset reset
done'

tree() { # a process and all below it
    local child
    echo "$1"
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$child"; done
}

cut_power() {
    local pid
    if pid=$(guest_pid "$1"); then
        # shellcheck disable=SC2046
        kill -CONT $(tree "$pid") 2>/dev/null
        kill -KILL "$pid"
        while [[ -e /proc/$pid ]] && [[ $(awk '{print $3}' "/proc/$pid/stat" 2>/dev/null) != Z ]]; do sleep 0.05; done
    fi
    rm -f "$RUN/guests/$1.pid" "$RUN/guests/$1.frozen"
    hang_up "$1"
}

power() {
    local host=$1 pid
    known_host "$host"
    case $2 in
    on) start_guest "$host" && wait_for "$host" ;;
    off) cut_power "$host" ;;
    freeze | thaw)
        pid=$(guest_pid "$host") || fail "$host is off: lab power $host on"
        # shellcheck disable=SC2046
        if [[ $2 == freeze ]]; then
            kill -STOP $(tree "$pid") && touch "$RUN/guests/$host.frozen"
        else
            kill -CONT $(tree "$pid") && rm -f "$RUN/guests/$host.frozen"
        fi
        ;;
    reboot)
        guest_pid "$host" >/dev/null || fail "$host is off: lab power $host on"
        local before
        before=$(boot_of "$host")
        on_host "$host" systemctl reboot || :
        hang_up "$host"
        wait_until 180 "$host reboots" rebooted "$host" "$before"
        ;;
    *) misused "power HOST on|off|freeze|thaw|reboot" ;;
    esac
}

boot_of() { on_host "$1" cat /proc/sys/kernel/random/boot_id; }
rebooted() { local now; now=$(boot_of "$1") && [[ -n $now && $now != "$2" ]]; }

power_of() {
    if ! guest_pid "$1" >/dev/null; then echo off; elif [[ -e $RUN/guests/$1.frozen ]]; then echo frozen; else echo on; fi
}

end_guests() {
    local host
    for host in $HOSTS; do cut_power "$host"; done
}

# Whatever is left is said, never silently left.
leftovers() {
    local left
    left=$(pgrep -f 'linux.uml|hactl-lab-(hosta|hostb|witness)' || :)
    [[ -z $left ]] || fail "down, but these processes are left: $(echo "$left" | xargs ps -o pid=,args= -p | head -n 5)"
    ! ip netns list 2>/dev/null | grep -qw "^$NETNS" || fail "down, but the namespace $NETNS is left"
    ! grep -q " $RUN" /proc/self/mounts || fail "down, but $RUN is still mounted"
}
