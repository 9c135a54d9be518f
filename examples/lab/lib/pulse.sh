# shellcheck shell=bash
# What tells a guest that stood still from a host that is at fault: logs/pulse.log (tools/pulse.py).

is_pulse() { [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline") == *"/tools/pulse.py $RUN "* ]]; } # whichever tree began it

pulse_pid() {
    local pid
    pid=$(cat "$RUN/guests/pulse.pid" 2>/dev/null) && [[ -n $pid ]] && is_pulse "$pid" && echo "$pid"
}

start_pulse() {
    local host named=()
    pulse_pid >/dev/null && return 0
    for host in $HOSTS; do named+=("$host=$(address_of "$host")"); done
    # shellcheck disable=SC2016
    inside setsid sh -c 'echo $$ >"$0" && exec "$@"' "$RUN/guests/pulse.pid" \
        "$PYTHON" -I "$HERE/tools/pulse.py" "$RUN" "${named[@]}" </dev/null >>"$RUN/logs/pulse.log" 2>&1 9>&- &
    wait_until 10 "the watch over the guests is started" pulse_pid
}

end_pulse() {
    local pid
    pid=$(pulse_pid) || return 0
    kill "$pid" 2>/dev/null || :
    wait_until 10 "the watch over the guests ends" all_gone "$pid"
}
