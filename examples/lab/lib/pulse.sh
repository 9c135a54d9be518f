# shellcheck shell=bash
# What tells a guest that stood still from a host that is at fault: logs/pulse.log (tools/pulse.py).

start_pulse() {
    local host named=()
    resident pulse >/dev/null && return 0
    for host in $HOSTS; do named+=("$host=$(address_of "$host")"); done
    begin_resident pulse "$RUN" "${named[@]}"
    wait_until 10 "the watch over the guests is started" resident pulse
}
