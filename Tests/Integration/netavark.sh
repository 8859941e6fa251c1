# Containers of Podman 5 on LANs, by its network driver.
# Release: trixie

source Tests/Integration/containers.sh
source Tests/Integration/one-host.sh

netavark_setup() {
  lan_setup
  podman_image
  chaos lan create blue --vni 100 >/dev/null
}

# podman_network NAME OPTION...
podman_network() {
  local name=$1
  shift
  podman network create --driver chaos "$@" "$name" >/dev/null
}

nobody() { [[ $(lan blue '.members | length') == 0 ]]; }

test_containers_and_a_guest_reach_each_other() {
  netavark_setup
  podman_network red --subnet 10.5.0.0/24 --ip-range 10.5.0.128/25 --opt lan=blue
  create a --vif lan=blue,ip=10.5.0.2/24
  podman_run p red
  podman_run q red --ip 10.5.0.77 --mac-address 52:54:00:12:34:56
  podman exec p ping -c 1 -W 5 10.5.0.2
  podman exec q ping -c 1 -W 5 "$(podman inspect p | jq -r '.[0].NetworkSettings.Networks.red.IPAddress')"
  expect_equal 'static address' 10.5.0.77 "$(podman inspect q | jq -r '.[0].NetworkSettings.Networks.red.IPAddress')"
  expect_equal 'static MAC' 52:54:00:12:34:56 "$(podman exec q cat /sys/class/net/eth0/address)"
  expect_equal MTU 1450 "$(podman exec p cat /sys/class/net/eth0/mtu)"
  expect_equal 'containers on the LAN' 2 "$(lan blue '[.members[] | select(.kind == "container")] | length')"
  podman_remove p q
  expect_equal members 1 "$(lan blue '.members | length')"
  expect_equal records 0 "$(container_records)"
  chaos destroy a
}

test_container_on_several_networks() {
  netavark_setup
  chaos lan create green --mode local >/dev/null
  podman_network red --subnet 10.5.0.0/24 --internal --opt lan=blue
  podman_network green --subnet 10.6.0.0/24
  podman_run p red,green
  podman_run q green
  podman exec q ping -c 1 -W 5 "$(podman inspect p | jq -r '.[0].NetworkSettings.Networks.green.IPAddress')"
  expect_equal 'default routes' 1 "$(podman exec p ip route | grep -c '^default')"
  podman network disconnect green p
  expect_equal 'members of green' 1 "$(lan green '.members | length')"
  podman network connect green p
  expect_equal 'members of green' 2 "$(lan green '.members | length')"
  podman_remove p q
  expect_equal records 0 "$(container_records)"
}

test_what_cannot_be_is_said_in_one_line() {
  netavark_setup
  podman network create --driver chaos --opt lan=nowhere red 2>/tmp/error && fail 'a network on no LAN'
  grep -q "no such LAN: 'nowhere'; chaos lan create nowhere makes it" /tmp/error || fail "$(cat /tmp/error)"
  podman network create --driver chaos --subnet 10.5.0.0/24 --opt lan=blue red 2>/tmp/error >/dev/null
  grep -q 'keep them apart with --ip-range' /tmp/error || fail "not warned: $(cat /tmp/error)"
  podman run -d --name p --network red -p 8080:80 "$container_image" /bin/true 2>/tmp/error && fail 'a published port'
  grep -q 'port_mappings: not supported' /tmp/error || fail "$(cat /tmp/error)"
  podman rm -f p >/dev/null 2>&1 || :
  nobody || fail "$(chaos lan info blue)"
}

test_containers_gone_without_a_teardown_are_forgotten() {
  netavark_setup
  podman_network red --subnet 10.5.0.0/24 --opt lan=blue
  podman_run p red
  podman_run q red
  expect_equal records 2 "$(container_records)"
  # As a reboot or a crash of the host leaves it: Podman does not know either.
  pkill -9 conmon || :
  kill -9 "$(podman inspect p | jq '.[0].State.Pid')"
  namespace=$(podman inspect p | jq -r '.[0].NetworkSettings.SandboxKey')
  umount "$namespace"
  rm "$namespace"
  forgotten() { [[ $(container_records) == 1 && $(lan blue '.members | length') == 1 ]]; }
  wait_until 90 forgotten || fail "$(ls /var/lib/chaos/cni; chaos lan info blue)"
  podman rm -af -t 0 >/dev/null 2>&1 || podman rm -af -t 0 >/dev/null
  expect_equal records 0 "$(container_records)"
}
