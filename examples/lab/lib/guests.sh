# shellcheck shell=bash
# The guests as processes: each under an `unshare --pid --kill-child` of its own, so that one kill is a clean power cut,
# and a supervisor in there that starts the kernel anew when it resets.

is_guest() { [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$2/cmdline") == "unshare --pid"*" hactl-lab-$1 "* ]]; }

reset_of() { echo "$RUN/guests/$1.reset"; }

guest_pid() { # of its unshare, when that runs
    local pid
    pid=$(cat "$RUN/guests/$1.pid" 2>/dev/null) && [[ -n $pid ]] && is_guest "$1" "$pid" && echo "$pid"
}

power_of() {
    if ! guest_pid "$1" >/dev/null; then echo off; elif [[ -e $RUN/guests/$1.frozen ]]; then echo frozen; else echo on; fi
}

start_guests() {
    local host
    for host in $HOSTS; do start_guest "$host" || return 1; done
}

start_guest() {
    local host=$1 n disk arguments
    guest_pid "$host" >/dev/null && return 0
    n=$(number_of "$host")
    arguments=("mem=$(memory_of "$host")" "umid=$host" "uml_dir=$RUN/uml" root=/dev/ubda rw "con0=null,fd:1" con=null ssl=null
        quiet selinux=0 audit=0 "lab.host=$host" "systemd.hostname=$host" "ubd0=$RUN/disks/$host.cow,$RUN/base.img"
        "vec0:transport=tap,ifname=$(tap_of "$host" lan),depth=64,mac=52:54:00:00:00:0$n")
    [[ -z $SITE ]] || arguments+=(lab.watchdog=20)
    if [[ $host != witness ]]; then
        arguments+=("vec1:transport=tap,ifname=$(tap_of "$host" replication),depth=64,mac=52:54:00:00:01:0$n")
        for ((disk = 1; disk <= DISKS; disk++)); do
            [[ -e $RUN/disks/$host-$disk.img ]] || truncate -s "$DISK_SIZE" "$RUN/disks/$host-$disk.img" || return 1
            arguments+=("ubd$disk=$RUN/disks/$host-$disk.img")
        done
    fi
    rm -rf "$RUN/uml/$host" "$RUN/guests/$host.frozen"
    printf '#!/bin/sh\nexit 75\n' >"$(reset_of "$host")" && chmod +x "$(reset_of "$host")" || return 1
    # It notes its own number before it is anything: a lab killed right here leaves nothing that `down` would not find.
    # 9 is the lock of `alone`: a guest must not hold it.
    # shellcheck disable=SC2016
    inside env TMPDIR="$RUN/tmp" setsid sh -c 'echo $$ >"$0" && exec unshare --pid --fork --kill-child --mount-proc "$@"' \
        "$RUN/guests/$host.pid" bash -c "$SUPERVISOR" "hactl-lab-$host" "$(reset_of "$host")" "${arguments[@]}" \
        </dev/null >>"$RUN/logs/$host.console" 2>&1 9>&- &
    wait_until 20 "$host is started" guest_pid "$host"
}

# It is the first process of its namespace. A guest that resets executes its own program (argv[0]) again, in the same
# process, and could not open its tap there: what it finds by that name ends with 75, and the guest is started here anew. One
# that was shut down ends with 0. (Where that name is missing, it ends with 0 as well.)
# shellcheck disable=SC2016
SUPERVISOR='
reset=$1; shift
while :; do
    began=$SECONDS
    (exec -a "$reset" /usr/bin/linux.uml "$@") && exit 0
    kill -KILL -1 2>/dev/null
    ((SECONDS - began > 5)) || sleep 2
done'

tree() { # a process and all below it
    local child
    echo "$1"
    # shellcheck disable=SC2013 # words of one line
    for child in $(cat "/proc/$1/task"/*/children 2>/dev/null); do tree "$child"; done
}

# Stays frozen to its end, if it was: not a write of it may come after.
cut_power() {
    local pid pids
    if pid=$(guest_pid "$1"); then
        pids=$(tree "$pid")
        kill -KILL "$pid" 2>/dev/null || :
        wait_until 30 "$1's processes end" all_gone "$pids" || return 1
    fi
    rm -f "$RUN/guests/$1.pid" "$RUN/guests/$1.frozen"
    hang_up "$1"
}

all_gone() { # zombies of a parent that does not look hold nothing
    local pid
    for pid in $1; do
        [[ $(awk '/^State:/ {print $2}' "/proc/$pid/status" 2>/dev/null) == [ZX] || ! -e /proc/$pid ]] || return 1
    done
}

end_guests() {
    local host pid
    for host in $HOSTS; do
        cut_power "$host"
        for pid in $(stray "$host"); do kill -KILL "$pid" 2>/dev/null || :; done
    done
}

stray() { # started for that host by any lab, whether or not its number was noted
    local entry pid
    for entry in /proc/[0-9]*; do
        pid=${entry#/proc/}
        if is_guest "$1" "$pid" || [[ $(head -zn 1 "$entry/cmdline" 2>/dev/null | tr -d '\0') == "$(reset_of "$1")" ]]; then echo "$pid"; fi
    done
}

# Whatever is left is said, never silently left.
leftovers() {
    local host left=""
    for host in $HOSTS; do wait_until 10 "$host's processes end" no_stray "$host" || left+=" processes $(stray "$host" | xargs)"; done
    [[ ! -e /run/netns/$NETNS ]] || left+=" namespace $NETNS"
    ! grep -q " $RUN" /proc/self/mounts || left+=" mount $RUN"
    [[ ! -e $RUN ]] || left+=" folder $RUN"
    [[ -z $left ]] || fail "down, but this is left:$left"
    say "down: no process, namespace or mount is left"
}

no_stray() { [[ -z $(stray "$1") ]]; }
