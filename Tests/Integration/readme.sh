# What the README shows happens so.

# session: the lines of README.md's session, without prompts where it has none.
session() { sed -n '/^## A session/,/^## /{/^```console/,/^```$/p}' README.md | grep -v '^```'; }

# What differs from run to run, and how wide a column is, made the same everywhere.
essence() {
  sed -E 's/sha256:[0-9a-f]{64}/SHA256/g; s/([0-9a-f]{2}:){5}[0-9a-f]{2}/MAC/g; s/[0-9]+(\.[0-9]+){3}/&@/g' |
    sed -E 's/\b[0-9]+(\.[0-9]+)?( s|s| ms| MiB| packets)/N\2/g; s/=[0-9.]+ ms/=N ms/; s/^(web +)[0-9]+/\1N/; s/@//g; s/ +/ /g; s/ $//'
}

# run COMMAND STOPPED: in this shell; STOPPED is yes for one that the session ends with ^C.
run() {
  if [[ $2 ]]; then
    timeout --signal INT 10 bash -c "$1" || (($? == 124))
  else
    eval "$1"
  fi
}

# expect_shown COMMAND SHOWN SAID: each shown line was said, in the order shown.
expect_shown() {
  local line said=$3
  while IFS= read -r line; do
    [[ $'\n'$said$'\n' == *$'\n'$line$'\n'* ]] || fail "'$1' did not say '$line' but: $3" || return 1
    said=${said#*"$line"}
  done < <(essence <<<"$2")
}

test_session_is_what_happens() {
  local line command='' shown='' stopped='' count=0
  ip link delete "$bridge"
  trap 'ip link delete "$bridge"; add_bridge' EXIT
  step() {
    local said
    [[ $command ]] || return 0
    run "$command" "$stopped" >/tmp/said
    said=$(tr -d '\r' </tmp/said | essence)
    [[ -z $shown ]] || expect_shown "$command" "${shown%$'\n'}" "$said"
    count=$((count + 1))
  }
  while IFS= read -r line; do
    case $line in
      '# '*)
        step
        command=${line#'# '} shown='' stopped=''
        ;;
      '^C') stopped=yes ;;
      *) shown+=$line$'\n' ;;
    esac
  done < <(session)
  step
  ((count >= 8)) || fail "the session has $count commands only"
  expect_equal guests '' "$(chaos list --quiet)"
  chaos pool set --image host --vifs 1 --low 0 --high 0 >/dev/null
  chaos image remove host
}
