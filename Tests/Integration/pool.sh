# The pool: watermarks, budget, draining, giving way.

flavour() { chaos pool status --format json | jq ".flavours[] | select(.memoryMiB == $1 and .vifs == 1 and .image == null) | $2"; }

test_pool_refills_below_the_low_mark() {
  chaos pool set --memory 6 --vifs 1 --low 2 --high 4 >/dev/null
  chaos pool fill --wait >/dev/null
  expect_equal ready 4 "$(flavour 6 .ready)"
  for i in 1 2; do chaos create --image $noop_image --memory 6 --vif bridge=$bridge >/dev/null; done
  sleep 1
  expect_equal 'ready at the low mark' 2 "$(flavour 6 .ready)"
  chaos create --image $noop_image --memory 6 --vif bridge=$bridge >/dev/null
  full() { [[ $(flavour 6 .ready) == 4 ]]; }
  wait_until 30 full
  chaos pool set --memory 6 --vifs 1 --low 0 --high 0 >/dev/null
}

test_flavour_that_cannot_be_built_is_said_once_and_tried_again() {
  said() { grep -c 'cannot prepare a shell' /var/log/chaos/chaosd.log; }
  mv /dev/vhost-net /dev/vhost-net.away
  before=$(said) || true
  chaos pool set --memory 6 --vifs 1 --low 1 --high 1 >/dev/null
  sleep 5
  after=$(said) || true
  mv /dev/vhost-net.away /dev/vhost-net
  expect_equal 'lines in the log' $((before + 1)) "$after"
  ready() { (($(chaos pool status --format json | jq '.flavours[] | select(.memoryMiB == 6).ready') == 1)); }
  wait_until 60 ready
  chaos pool set --memory 6 --vifs 1 --low 0 --high 0 >/dev/null
}

test_burst_takes_the_shells_there_are_and_waits_for_none() {
  chaos image add host $host_image >/dev/null
  chaos pool set --image host --vifs 1 --low 4 --high 8 >/dev/null
  chaos pool fill --wait >/dev/null
  for number in {1..24}; do
    chaos create --image host --name "burst-$number" --vif bridge=$bridge --format json | jq -r .shell >"/tmp/burst.$number" &
    creates+=($!)
  done
  wait "${creates[@]}"
  (($(cat /tmp/burst.* | grep -c hot) >= 8)) || fail "hot: $(cat /tmp/burst.* | sort | uniq -c | paste -sd ' ')"
  expect_equal guests 24 "$(chaos list -q | wc -l)"
  rm /tmp/burst.*
  chaos pool set --image host --vifs 1 --low 0 --high 0 >/dev/null
}

test_drain_leaves_nothing_and_lasts() {
  before=$(resources)
  chaos pool set --memory 6 --vifs 1 --low 1 --high 2 >/dev/null
  chaos pool fill --wait >/dev/null
  [[ $(resources) != "$before" ]] || fail 'no shell was made'
  chaos pool drain
  sleep 2
  expect_resources "$before"
  chaos pool set --memory 6 --vifs 1 --low 0 --high 0 >/dev/null
}

test_budget_bounds_the_pool() {
  chaos pool set --memory 16 --vifs 1 --low 10 --high 10 --budget 64 >/dev/null
  chaos pool fill --wait >/dev/null
  used=$(chaos pool status --format json | jq .usedMiB)
  ((used <= 64 && used >= 48)) || fail "the pool holds $used of 64 MiB"
  chaos pool set --memory 16 --vifs 1 --low 0 --high 0 --budget 256 >/dev/null
}

test_pool_gives_memory_back_to_a_create() {
  free=$(chaos host --format json | jq .freeMiB)
  high=$(((free - 200) / 64))
  chaos pool set --memory 64 --vifs 0 --low 0 --high $high --budget $((high * 64)) >/dev/null
  chaos pool fill --wait >/dev/null
  chaos create --image $noop_image --memory 500 --name big
  chaos pool set --memory 64 --vifs 0 --low 0 --high 0 --budget 256 >/dev/null
}

test_settings_outlive_the_daemon() {
  chaos pool set --memory 7 --vifs 1 --low 1 --high 2 >/dev/null
  kill_chaosd
  start_chaosd
  expect_equal 'high mark' 2 "$(flavour 7 .high)"
  chaos pool set --memory 7 --vifs 1 --low 0 --high 0 >/dev/null
}

test_hot_create_costs_three_hypercalls_and_two_netlink_messages_at_most() {
  chaos image add host $host_image >/dev/null
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 5 >/dev/null
  chaos pool fill --wait >/dev/null
  counters() { curl -sf --unix-socket /run/chaos/chaosd.sock http://c/v1/counters; }
  # The watcher lists domains by itself now and then; that is not the creates'.
  hypercalls() { jq '[.hypercalls | to_entries[] | select(.key != "domainList") | .value] | add' <<<"$1"; }
  messages() { jq .netlinkMessages <<<"$1"; }
  # What a create costs is what it costs in most cases: now and then the reconciler looks at the host meanwhile.
  middle() { printf '%s\n' "$@" | sort -n | sed -n 3p; }
  calls=() sent=()
  for i in {1..5}; do
    before=$(counters)
    expect_equal shell hot "$(chaos create --image host --format json --vif bridge=$bridge,ip=10.1.0.1$i/16 | jq -r .shell)"
    after=$(counters)
    calls+=($(($(hypercalls "$after") - $(hypercalls "$before"))))
    sent+=($(($(messages "$after") - $(messages "$before"))))
  done
  (($(middle "${calls[@]}") > 0 && $(middle "${calls[@]}") <= 3)) || fail "hot creates made ${calls[*]} hypercalls"
  (($(middle "${sent[@]}") > 0 && $(middle "${sent[@]}") <= 2)) || fail "hot creates sent ${sent[*]} netlink messages"
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 0 >/dev/null
  chaos image remove host
}
