# Several hosts for the integration tests of LANs: sourced on the machine, after harness.sh.
#
# Each host is a box with chaosd up. A step is shell code, run in a host's dom0 with harness.sh and containers.sh at hand:
# a function or a program there, not here. Steps of one host run one after another, each in a subshell with errexit and a
# process group of its own; what one leaves running in the background stays, if it writes to a file of its own.

step_seconds=300
start_seconds=900

# hosts_start N [OPTION OF BOX/RUN...]: boots N hosts and waits for them.
hosts_start() {
  local host id
  hosts_wanted=("$@")
  hosts_folder=$(mktemp -d "${TMPDIR:-/tmp}/chaos-hosts.XXXXXX")
  host_count=$1
  to=() from=() turn=()
  for ((host = 1; host <= host_count; host++)); do
    mkfifo "$hosts_folder/$host.in" "$hosts_folder/$host.out"
    exec {to[host]}<>"$hosts_folder/$host.in" {from[host]}<>"$hosts_folder/$host.out"
    : >"$hosts_folder/$host.err"
  done
  # Should this shell be killed, box/run ends, and with it every host.
  setpriv --pdeathsig TERM box/run --hosts "$@" --streams "$hosts_folder" -- Tests/Integration/in-host \
    </dev/null >"$hosts_folder/log" 2>&1 &
  hosts_process=$!
  for ((host = 1; host <= host_count; host++)); do
    step_end "$host" ready "$start_seconds" >"$hosts_folder/start" && continue
    echo "host $host did not start:" >&2
    cat "$hosts_folder/start" "$hosts_folder/log" "$hosts_folder/$host.err" >&2
    hosts_stop
    return 1
  done
}

hosts_run() { [[ -n ${hosts_process:-} ]] && kill -0 "$hosts_process" 2>/dev/null; }

# hosts_stop: ends every host, at once.
hosts_stop() {
  local host
  [[ -n ${hosts_process:-} ]] || return 0
  kill "$hosts_process" 2>/dev/null
  wait "$hosts_process" 2>/dev/null
  hosts_process=''
  for host in "${!to[@]}"; do exec {to[host]}>&- {from[host]}>&-; done
  to=() from=()
  rm -rf "$hosts_folder"
}

# --- Steps

# on HOST 'STEP': prints the step's output and returns its status; one that fails says so on standard error too.
on() { step "$step_seconds" "$1" "$2"; }

# on_all 'STEP': on every host at once; each line of output begins with "hostN: ". The status is the first that is not 0.
on_all() {
  local host output status result=0
  local ids=()
  for host in "${!to[@]}"; do step_begin "$host" "$step_seconds" "$1" && ids[host]=$id; done
  for host in "${!to[@]}"; do
    status=0
    output=$(step_end "$host" "${ids[host]}" "$step_seconds") || status=$?
    step_over "$host"
    ((!status)) || step_failed "$host" "$1" "$status" "$output"
    [[ -z $output ]] || sed "s/^/host$host: /" <<<"$output"
    ((result)) || result=$status
  done
  return "$result"
}

# wait_on HOST SECONDS 'STEP': until the step succeeds there; says what it said last when it never does.
wait_on() {
  local quoted
  printf -v quoted %q "$3"
  step $(($2 + step_seconds)) "$1" "wait_for_step $2 $quoted"
}

# address HOST, address6 HOST: on the underlay.
address() { on "$1" 'echo "$BOX_ADDRESS"'; }
address6() { on "$1" 'echo "$BOX_ADDRESS6"'; }

step() {
  local seconds=$1 host=$2 step=$3 output status=0
  step_begin "$host" "$seconds" "$step"
  output=$(step_end "$host" "$id" "$seconds") || status=$?
  step_over "$host"
  [[ -z $output ]] || printf '%s\n' "$output"
  ((!status)) || step_failed "$host" "$step" "$status" "$output"
  return "$status"
}

step_failed() {
  echo "host $1: status $3 of: $2" >&2
  [[ -z $4 ]] || sed 's/^/  /' <<<"$4" >&2
}

# Sets id, and has the host to itself until step_over: a test may have left a step in the background.
step_begin() {
  exec {turn[$1]}>"$hosts_folder/$1.turn"
  flock "${turn[$1]}"
  id=$EPOCHREALTIME-$RANDOM
  printf '%s %s %q\n' "$id" "$2" "$3" >&"${to[$1]}"
}

step_over() { exec {turn[$1]}>&-; }

# step_end HOST ID SECONDS: a step's output and status. What an earlier step, whose test was over, had still to say is dropped.
step_end() {
  local host=$1 id=$2 limit=$((SECONDS + $3 + 30)) output='' line='' part
  while :; do
    if IFS= read -r -t 1 part <&"${from[host]}"; then
      line+=$part
      if [[ $line == *$'\001'* ]]; then
        output+=${line%%$'\001'*}
        line=${line##*$'\001'}
        [[ ${line% *} != "$id" ]] || break
        output=''
      else
        output+=$line$'\n'
      fi
      line=''
    elif line+=$part && ! hosts_run; then
      echo "$output${line}the hosts are gone"
      return 70
    elif ((SECONDS > limit)); then
      echo "$output${line}host $host does not answer"
      return 70
    fi
  done
  printf %s "$output"
  return "${line##* }"
}

# --- What the harness asks for

# After each test; hosts that broke are replaced, so that the next test has some.
clean_up() {
  on_all clean_up >/dev/null && return
  hosts_stop
  hosts_start "${hosts_wanted[@]}" || exit 70
}

show_logs() {
  local host
  hosts_run || { tail -n 30 "$hosts_folder/log" && return; }
  for host in "${!to[@]}"; do on "$host" show_logs | sed "s/^/host$host: /"; done
}
