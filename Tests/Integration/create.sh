# chaos create: what was asked for is what runs.

test_guest_on_a_bridge_answers_ping() {
  create a --vif bridge=$bridge,ip=10.1.0.2/16
  wait_until 20 answers 10.1.0.2
  expect_equal state running "$(info a .state)"
  expect_equal ready true "$(info a .ready)"
}

test_result_names_the_shell_it_came_from() {
  chaos image add host $host_image
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 1 >/dev/null
  chaos pool set --memory 8 --vifs 1 --low 0 --high 1 >/dev/null
  chaos pool fill --wait >/dev/null
  shell() {
    chaos create --image host --memory 8 --format json --vif bridge=$bridge,ip="$1"/16 "${@:2}" | jq -r .shell
  }
  expect_equal 'unpooled shell' none "$(shell 10.1.0.12 --no-pool)"
  expect_equal 'first shell' hot "$(shell 10.1.0.10)"
  expect_equal 'second shell' blank "$(chaos create --image $noop_image --memory 8 --vif bridge=$bridge --format json | jq -r .shell)"
  wait_until 20 answers 10.1.0.10
  wait_until 20 answers 10.1.0.12
  chaos pool set --image host --memory 8 --vifs 1 --low 0 --high 0 >/dev/null
  chaos image remove host
}

test_blank_shell_serves_an_image_with_offloads() {
  chaos pool set --memory 8 --vifs 1 --low 0 --high 1 >/dev/null
  chaos pool fill --wait >/dev/null
  expect_equal shell blank "$(chaos create --image $host_image --vif bridge=$bridge,ip=10.1.0.11/16 --format json | jq -r .shell)"
  wait_until 20 answers 10.1.0.11
  # A datagram from dom0's own socket reaches the guest with its checksum left to offload.
  expect_equal echo hello "$(echo -n hello | timeout 10 socat -t 5 - udp:10.1.0.11:7)"
}

test_hundred_guests_all_answer_and_leave_nothing() {
  before=$(resources)
  free=$(chaos host --format json | jq .freeMiB)
  expect_equal 'names printed' 100 "$(chaos create --image $host_image --memory 4 --count 100 --name g \
    --vif bridge=$bridge,ip=10.1.2.1-10.1.2.100/16 | wc -l)"
  for i in {1..100}; do wait_until 30 answers 10.1.2.$i; done
  expect_equal 'guests listed' 100 "$(chaos list --format json | jq '.guests | length')"
  chaos destroy --all
  chaos pool drain
  expect_resources "$before"
  after=$(chaos host --format json | jq .freeMiB)
  ((after >= free - 2)) || fail "free memory: $free MiB before, $after MiB after"
}

test_guest_gets_what_was_asked_for() {
  cmdline=$(printf 'x%.0s' {1..1024})
  create exact --memory 5 --cmdline "$cmdline" \
    --vif bridge=$bridge,mac=52:54:00:12:34:56,ip=10.1.0.3/16,gateway=10.1.0.1,mtu=1400
  wait_until 20 answers 10.1.0.3
  chaos logs exact | grep -q "$cmdline" || fail 'the guest did not see its command line'
  chaos logs exact | grep -qi '52:54:00:12:34:56 10.1.0.3/16' || fail 'the guest did not see its address'
  expect_equal 'MAC in the neighbour table' 52:54:00:12:34:56 "$(ip neigh show 10.1.0.3 | grep -o '..:..:..:..:..:..')"
  expect_equal memory 5 "$(info exact .memoryMiB)"
  expect_equal mtu 1400 "$(info exact '.vifs[0].mtu')"
  tap=$(info exact '.vifs[0].tap')
  # The guest's alone: a bridge takes the smallest MTU of its ports.
  expect_equal 'MTU of the tap' "$(cat /sys/class/net/$bridge/mtu)" "$(cat /sys/class/net/$tap/mtu)"
  expect_equal 'MTU of the bridge' 1500 "$(cat /sys/class/net/$bridge/mtu)"
}

test_host_image_works_in_three_mebibytes() {
  create small --memory 3 --vif bridge=$bridge,ip=10.1.0.4/16
  wait_until 20 answers 10.1.0.4
}

test_fifteen_vifs_all_answer() {
  vifs=()
  for i in {1..15}; do
    ip link add m$i type bridge
    ip addr add 10.2.$i.1/24 dev m$i
    ip link set m$i up
    vifs+=(--vif "bridge=m$i,ip=10.2.$i.2/24")
  done
  create many --memory 16 "${vifs[@]}"
  for i in {1..15}; do wait_until 20 answers 10.2.$i.2; done
  chaos destroy many
  for i in {1..15}; do ip link del m$i; done
}

test_ipv6_address_answers() {
  create six --vif bridge=$bridge,ip6=fd00:1::6/64
  wait_until 20 answers fd00:1::6
}

test_udp_services_of_the_host_image() {
  create udp --vif bridge=$bridge,ip=10.1.0.5/16
  expect_equal echo 'some bytes' "$(echo -n 'some bytes' | timeout 10 socat -t 5 - udp:10.1.0.5:7)"
  daytime=$(echo | timeout 10 socat -t 5 - udp:10.1.0.5:13)
  year=$(date -u +%Y)
  [[ $daytime == *"$year"* ]] || fail "daytime: '$daytime' does not name $year"
}

test_full_size_and_large_packets() {
  create big --vif bridge=$bridge,ip=10.1.0.6/16
  wait_until 20 answers 10.1.0.6
  ping -q -c 2 -W 5 -s 1472 -M do 10.1.0.6
  wait_until 20 ping -q -c 20 -i 0.01 -W 5 10.1.0.6
}

test_config_file_with_the_classic_keys() {
  cat >/tmp/vm.json <<END
{ "name": "classic", "kernel": "$PWD/$host_image", "memory": 4, "vcpus": 1, "cmdline": "from config",
  "vifs": [ { "mac": "02:00:00:00:00:07", "ip": "10.1.0.7/16", "bridge": "$bridge" } ] }
END
  expect_equal 'printed name' classic "$(chaos create /tmp/vm.json)"
  wait_until 20 answers 10.1.0.7
  expect_equal cmdline 'from config' "$(info classic .cmdline)"
}

test_paused_guest_starts_when_unpaused() {
  chaos create --image $host_image --name still --paused --vif bridge=$bridge,ip=10.1.0.8/16
  expect_equal state paused "$(info still .state)"
  ! answers 10.1.0.8 || fail 'a paused guest answers'
  chaos unpause still
  wait_until 20 answers 10.1.0.8
}

test_same_uuid_returns_the_same_guest() {
  uuid=12345678-1234-4234-8234-123456789abc
  create again --uuid $uuid --vif bridge=$bridge,ip=10.1.0.9/16
  id=$(info again .domid)
  chaos create --image $host_image --name again --uuid $uuid --vif bridge=$bridge,ip=10.1.0.9/16
  expect_equal 'domain ID' "$id" "$(info $uuid .domid)"
  expect_equal guests 1 "$(chaos list --format json | jq '.guests | length')"
}

test_concurrent_creates() {
  for i in {1..12}; do
    chaos create --image $host_image --memory 4 --name c$i --vif bridge=$bridge,ip=10.1.3.$i/16 >/dev/null &
  done
  wait $(jobs -p)
  for i in {1..12}; do wait_until 30 answers 10.1.3.$i; done
}

test_only_one_of_two_concurrent_creates_gets_a_name() {
  results=$(for i in 1 2 3 4; do (chaos create --image $noop_image --name dup >/dev/null 2>&1; echo $?) & done; wait)
  expect_equal 'exit statuses' '0 4 4 4' "$(sort <<<"$results" | tr '\n' ' ' | sed 's/ $//')"
}
