# Containers of whichever Podman this release has, ten at once, many times: nothing is left of them.
source Tests/Integration/containers.sh
source Tests/Integration/one-host.sh

test_many_containers_come_and_go() {
  lan_setup
  podman_image
  chaos lan create blue --vni 100 >/dev/null
  # An address that is not given back is missed soon.
  range_network many blue 10.5.0.0/24 10.5.0.100 10.5.0.111
  local left=${CHAOS_CONTAINERS:-10} name pids
  while ((left > 0)); do
    pids=()
    for name in {1..10}; do podman_run "c$left-$name" many & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid"; done
    expect_equal members 10 "$(lan blue '.members | length')"
    podman rm -af -t 0 >/dev/null
    expect_equal members 0 "$(lan blue '.members | length')"
    left=$((left - 10))
  done
  expect_equal records 0 "$(container_records)"
  expect_equal addresses 0 "$(address_reservations)"
}
