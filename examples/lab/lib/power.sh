# shellcheck shell=bash
# power HOST …: what can happen to a machine.

power() {
    local host=$1
    known_host "$host"
    is_there || fail "the lab is down: examples/lab/lab up"
    case $2 in
    on) start_guest "$host" && wait_for "$host" ;;
    off) cut_power "$host" ;;
    freeze) freeze "$host" ;;
    thaw) thaw "$host" ;;
    reboot) reboot "$host" ;;
    status) power_of "$host" ;;
    *) misused "power HOST on|off|freeze|thaw|reboot|status" ;;
    esac
}

powered() { guest_pid "$1" || fail "$1 is off: examples/lab/lab power $1 on"; }

# Only what no other process traces: the kernel's own. The guest's programs are traced by it and do nothing without it; a
# stop of theirs would be the kernel's to handle, and it takes that for a crash.
freeze() {
    local top pid
    top=$(powered "$1")
    : >"$RUN/guests/$1.frozen"
    for pid in $(tree "$top"); do
        [[ $(awk '/^TracerPid:/ {print $2}' "/proc/$pid/status" 2>/dev/null) != 0 ]] || kill -STOP "$pid" 2>/dev/null || :
    done
}

thaw() {
    local top pid
    top=$(powered "$1")
    for pid in $(tree "$top"); do
        [[ $(awk '/^TracerPid:/ {print $2}' "/proc/$pid/status" 2>/dev/null) != 0 ]] || kill -CONT "$pid" 2>/dev/null || :
    done
    rm -f "$RUN/guests/$1.frozen"
}

reboot() {
    local before
    powered "$1" >/dev/null
    before=$(boot_of "$1") || fail "$1 does not answer: examples/lab/lab power $1 off, then on"
    on_host "$1" systemctl reboot </dev/null >/dev/null 2>&1 || :
    hang_up "$1"
    wait_until 180 "$1 reboots" rebooted "$1" "$before" || fail "$1 did not come back: its console is $RUN/logs/$1.console"
}

boot_of() { on_host "$1" cat /proc/sys/kernel/random/boot_id </dev/null; }
rebooted() { local now; now=$(boot_of "$1") && [[ -n $now && $now != "$2" ]]; }
