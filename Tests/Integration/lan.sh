# chaos lan on one host: what is laid out, who is on it, what is refused, what survives.

source Tests/Integration/containers.sh
source Tests/Integration/one-host.sh

test_guests_and_containers_meet_on_a_LAN() {
  lan_setup
  expect_equal VNI 100 "$(chaos lan create blue --vni 100)"
  create a --vif lan=blue,ip=10.5.0.2/24
  namespace_join c blue 10.5.0.9/24 >/tmp/result
  expect_equal 'container MTU' 1450 "$(ip -n c -j link show eth0 | jq '.[0].mtu')"
  expect_equal 'guest MTU' 1450 "$(info a '.vifs[0].mtu')"
  wait_until 20 reaches c 10.5.0.2
  expect_equal members 'container,guest' "$(lan blue '[.members[].kind] | sort | join(",")')"
  expect_equal 'VXLAN device' true "$(lan blue .up)"
  expect_equal 'addresses of the bridge' 0 "$(ip -j addr show lan100 | jq '.[0].addr_info | length')"
  chaos destroy a
  namespace_leave c blue
  expect_equal 'VXLAN device without members' false "$(lan blue .up)"
  chaos lan delete blue
  expect_equal devices 0 "$(lan_devices)"
}

test_VNI_comes_from_the_name_and_a_collision_is_refused() {
  lan_setup
  expect_equal 'derived VNI' 16512592 "$(chaos lan create blue)"
  refused 4 "vni: taken by LAN 'blue'" chaos lan create red --vni 16512592
  chaos lan delete blue
  chaos lan create red --vni 16512592 >/dev/null
  refused 4 "made from the name; choose another with --vni: '16512592'" chaos lan create blue
  chaos lan delete red
}

test_guest_is_told_the_LANs_MTU_and_may_have_less() {
  lan_setup
  chaos lan create blue --vni 100 --mtu 1300 >/dev/null
  create a --vif lan=blue
  expect_equal mtu 1300 "$(info a '.vifs[0].mtu')"
  create b --vif lan=blue,mtu=1200
  expect_equal mtu 1200 "$(info b '.vifs[0].mtu')"
  refused 2 "vifs\[0\].mtu: above the LAN's 1300: '1400'" chaos create --image $host_image --vif lan=blue,mtu=1400
  ip link set $underlay mtu 9000
  chaos lan create big --vni 101 >/dev/null
  expect_equal 'mtu over jumbo frames' 8950 "$(lan big .mtu)"
  ip link set $underlay mtu 1500
  chaos lan create six --vni 102 --vtep fd98::1 >/dev/null
  expect_equal 'mtu over IPv6' 1430 "$(lan six .mtu)"
  chaos destroy --all
}

# A frame larger than members were told is never lost in silence: a guest takes it, a container's end counts it.
test_oversize_frame_on_one_host_is_taken_or_counted() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  namespace_join c blue 10.5.0.8/24 >/dev/null
  namespace_join d blue 10.5.0.9/24 >/dev/null
  ip -n c link set eth0 mtu 2000
  ip netns exec c ping -q -c 1 -W 5 -s 1700 10.5.0.2 >/dev/null
  before=$(lan blue .drops)
  ! ip netns exec c ping -q -c 3 -i 0.2 -W 1 -s 1700 10.5.0.9 >/dev/null || fail 'a frame went through that is too large'
  (($(lan blue .drops) >= before + 3)) || fail "drops were $before and are $(lan blue .drops)"
  chaos destroy a
  namespace_leave c blue
  namespace_leave d blue
}

test_same_address_on_two_LANs_stays_apart() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  chaos lan create red --vni 200 >/dev/null
  create a --vif lan=blue,mac=52:54:00:00:00:01,ip=10.5.0.2/24
  create b --vif lan=red,mac=52:54:00:00:00:01,ip=10.5.0.2/24
  namespace_join cb blue 10.5.0.9/24 >/dev/null
  namespace_join cr red 10.5.0.9/24 >/dev/null
  wait_until 20 reaches cb 10.5.0.2
  wait_until 20 reaches cr 10.5.0.2
  # A container says something of its own now and then, but not fifty times.
  before=$(cat /sys/class/net/"$(info b '.vifs[0].tap')"/statistics/tx_packets)
  ip netns exec cb ping -q -c 50 -i 0.02 10.5.0.2 >/dev/null
  after=$(cat /sys/class/net/"$(info b '.vifs[0].tap')"/statistics/tx_packets)
  ((after - before < 20)) || fail "$((after - before)) packets reached the other LAN"
  chaos destroy a
  ! reaches cb 10.5.0.2 || fail 'the guest on the other LAN answered'
  reaches cr 10.5.0.2
  chaos destroy b
  namespace_leave cb blue
  namespace_leave cr red
}

test_nothing_on_a_LAN_reaches_the_host() {
  lan_setup
  sysctl -qw net.ipv4.ip_forward=1
  chaos lan create blue --vni 100 >/dev/null
  namespace_join c blue 10.5.0.9/24 >/dev/null
  ip -n c route add default dev eth0
  # Not by ARP, and not by knowing the bridge's address either.
  ! reaches c $vtep || fail 'the host answered'
  ip -n c neigh replace $vtep lladdr "$(cat /sys/class/net/lan100/address)" dev eth0
  ! ip netns exec c ping -q -c 2 -W 1 $vtep >/dev/null || fail 'the host answered a frame to its bridge'
  ip -n c neigh replace 10.98.0.77 lladdr "$(cat /sys/class/net/lan100/address)" dev eth0
  sent=$(cat /sys/class/net/$underlay/statistics/tx_packets)
  ! ip netns exec c ping -q -c 3 -i 0.2 -W 1 10.98.0.77 >/dev/null || fail 'the host routed'
  expect_equal 'packets routed' "$sent" "$(cat /sys/class/net/$underlay/statistics/tx_packets)"
  ! ip netns exec c ping -6 -q -c 1 -W 1 fe80::1%eth0 >/dev/null 2>&1
  sysctl -qw net.ipv4.ip_forward=0
  namespace_leave c blue
}

test_peers_are_the_flood_list() {
  lan_setup
  chaos lan create blue --vni 100 --mode static >/dev/null
  chaos lan peer add blue 10.98.0.2 --mac 02:00:00:00:00:07 >/dev/null
  chaos lan peer add blue 10.98.0.3 >/dev/null
  floods() { bridge fdb show dev vxlan100 | grep -o '^00:00:00:00:00:00 dst [0-9.]*' | sort | tr '\n' ' '; }
  expect_equal floods '00:00:00:00:00:00 dst 10.98.0.2 00:00:00:00:00:00 dst 10.98.0.3 ' "$(floods)"
  bridge fdb show dev vxlan100 | grep -q '^02:00:00:00:00:07 dst 10.98.0.2' || fail 'the known MAC is not there'
  expect_equal 'said by info' 'flood 10.98.0.2,flood 10.98.0.3,remote 10.98.0.2' \
    "$(lan blue '[.forwarding[] | "\(.kind) \(.destination)"] | sort | join(",")')"
  chaos lan peer remove blue 10.98.0.2
  expect_equal floods '00:00:00:00:00:00 dst 10.98.0.3 ' "$(floods)"
  expect_equal peers '10.98.0.3' "$(chaos lan peer list blue --format json | jq -r '[.peers[].address] | join(",")')"
  ! bridge fdb show dev vxlan100 | grep -q '^02:00:00:00:00:07' || fail 'the MAC of a removed peer is still there'
}

test_vif_is_added_to_a_running_guest_and_removed() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  chaos lan create red --vni 200 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  namespace_join c blue 10.5.0.9/24 >/dev/null
  namespace_join d red 10.6.0.9/24 >/dev/null
  before=$(resources)
  for round in 1 2 3; do
    expect_equal index 1 "$(chaos vif add a lan=red,ip=10.6.0.2/24)"
    wait_until 20 reaches d 10.6.0.2
    reaches c 10.5.0.2
    chaos vif remove a 1
    ! reaches d 10.6.0.2 || fail 'a removed vif answered'
    expect_resources "$before"
  done
  # The first one, and the slot is taken again.
  chaos vif add a lan=red,ip=10.6.0.2/24 >/dev/null
  chaos vif remove a 0
  ! reaches c 10.5.0.2 || fail 'a removed vif answered'
  wait_until 20 reaches d 10.6.0.2
  expect_equal index 0 "$(chaos vif add a lan=blue,ip=10.5.0.3/24)"
  wait_until 20 reaches c 10.5.0.3
  # Back-end and daemon die; both vifs go on.
  kill -9 "$(pidof chaos-backend)"
  wait_until 30 reaches c 10.5.0.3
  wait_until 30 reaches d 10.6.0.2
  kill_chaosd
  start_chaosd
  reaches d 10.6.0.2
  expect_equal vifs 0,1 "$(info a '[.vifs[].index] | join(",")')"
  refused 3 "no vif 9" chaos vif remove a 9
  refused 2 "'15'" chaos vif remove a 15
  for i in {2..14}; do chaos vif add a lan=red >/dev/null; done
  refused 5 'all 15 vifs' chaos vif add a lan=red
  chaos destroy a
  expect_equal taps 0 "$(ls /sys/class/net | grep -c '^ch')"
  namespace_leave c blue
  namespace_leave d red
}

test_LANs_and_their_guests_survive_chaosd() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  chaos lan peer add blue 10.98.0.2 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  namespace_join c blue 10.5.0.9/24 >/dev/null
  wait_until 20 reaches c 10.5.0.2
  index=$(cat /sys/class/net/lan100/ifindex)
  ip netns exec c ping -i 0.2 -c 20 10.5.0.2 >/tmp/pings &
  pinger=$!
  kill_chaosd
  start_chaosd
  wait $pinger
  grep -q ' 0% packet loss' /tmp/pings || fail "$(tail -2 /tmp/pings)"
  expect_equal 'the bridge is the same' "$index" "$(cat /sys/class/net/lan100/ifindex)"
  # Devices that went away, as with a reboot of the host, are laid out again, and a LAN nobody wrote down goes.
  kill_chaosd
  ip link delete lan100
  ip link delete vxlan100
  ip link add lan777 type bridge
  ip link set lan777 group $((0x63000000 | 777))
  start_chaosd
  wait_until 10 reaches_after_rejoin
  expect_equal 'stray devices' 1 "$(ls /sys/class/net | grep -c '^lan')"
  bridge fdb show dev vxlan100 | grep -q 'dst 10.98.0.2' || fail 'the peer is gone'
  chaos destroy a
  namespace_leave c blue
}

# The container's end and the guest's were orphaned by the deletion of the bridge; chaosd puts both back.
reaches_after_rejoin() {
  local port
  for port in $(ls /sys/class/net | grep '^cv') "$(info a '.vifs[0].tap')"; do
    [[ $(cat /sys/class/net/"$port"/master/ifindex) == "$(cat /sys/class/net/lan100/ifindex)" ]] || return 1
  done
}

test_LAN_waits_for_its_underlay() {
  lan_setup
  chaos lan create blue --vni 100 --vtep $vtep >/dev/null
  kill_chaosd
  ip link delete lan100
  ip link delete vxlan100
  ip addr del $vtep/24 dev $underlay
  start_chaosd
  expect_equal state waiting "$(lan blue .state)"
  expect_equal reason "vtep: not an address of this host: '$vtep'" "$(lan blue .reason)"
  refused 4 "LAN 'blue' is not laid out: vtep: not an address of this host: '$vtep'" \
    chaos create --image $host_image --vif lan=blue
  # Those who are on it are still counted.
  ip link add w0 type dummy
  ip link add lan100 type bridge
  ip link set lan100 group $((0x63000000 | 100))
  ip link set w0 master lan100
  refused 4 "LAN 'blue' has members" chaos lan delete blue
  ip link delete w0
  ip addr add $vtep/24 dev $underlay
  laid_out() { [[ $(lan blue .state) == ready ]]; }
  wait_until 20 laid_out
  create a --vif lan=blue
  chaos destroy a
}

test_interface_of_the_host_is_a_member() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  ip link add nic0 type veth peer name nic1
  ip netns add far
  ip link set nic1 netns far
  ip -n far addr add 10.5.0.8/24 dev nic1
  ip -n far link set nic1 up
  chaos lan attach blue nic0 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  wait_until 20 reaches far 10.5.0.2
  expect_equal kind interface "$(lan blue '.members[] | select(.interface == "nic0").kind')"
  refused 4 "LAN 'blue' has members" chaos lan delete blue
  refused 4 "interface: carries this host's own address 10.98.0.1" chaos lan attach blue $underlay
  refused 3 "interface: no such interface: 'nic7'" chaos lan attach blue nic7
  chaos lan detach blue nic0
  ! reaches far 10.5.0.2 || fail 'a detached interface still reaches the LAN'
  refused 3 "not attached to LAN 'blue': 'nic0'" chaos lan detach blue nic0
  chaos destroy a
  ip netns delete far
}

# members_are LAN COUNT
members_are() { [[ $(lan "$1" '.members | length') == "$2" && $(lan "$1" .state) == ready && $(lan "$1" .up) == true ]]; }

test_devices_that_somebody_deletes_get_their_members_back() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  create b --vif lan=blue,ip=10.5.0.3/24
  namespace_join c blue 10.5.0.9/24 >/dev/null
  wait_until 20 reaches c 10.5.0.2
  local device
  for device in lan100 vxlan100; do
    ip link delete $device
    wait_until 40 members_are blue 3
    wait_until 20 reaches c 10.5.0.2
    wait_until 20 reaches c 10.5.0.3
  done
  # Made again by somebody, who knows nothing of what chaos gives a bridge.
  printf '%s\n' 'link delete lan100' "link add lan100 group $((0x63000000 | 100)) type bridge" 'link set lan100 up' |
    flock /run/chaos/lans/lan100.lock ip -batch -
  wait_until 40 members_are blue 3
  wait_until 20 reaches c 10.5.0.2
  tc filter show dev lan100 ingress | grep -q direct-action || fail 'the bridge is open to the host'
  # A guest's tap that is taken out.
  ip link set "$(info a '.vifs[0].tap')" nomaster
  wait_until 40 members_are blue 3
  chaos destroy a b
  namespace_leave c blue
  expect_equal 'VXLAN device without members' false "$(lan blue .up)"
  chaos lan delete blue
}

test_the_VXLAN_device_is_up_while_there_is_a_member_however_they_come_and_go() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  chaos lan delete blue --force
  chaos lan create blue --vni 100 >/dev/null
  create a --vif lan=blue
  chaos lan delete blue --force
  # It gets its guest back, which is one guest and no more.
  chaos lan create blue --vni 100 >/dev/null
  wait_until 20 members_are blue 1
  create b --vif lan=blue
  chaos destroy a
  members_are blue 1
  ip link set vxlan100 down
  wait_until 20 members_are blue 1
  chaos destroy b
  expect_equal up false "$(lan blue .up)"
}

test_held_lock_is_said_and_holds_up_nobody_else() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  create a --vif lan=blue
  flock -o /run/chaos/lans/lan100.lock sleep 30 &
  local holder=$!
  wait_until 10 lock_is_held
  refused 4 "LAN 'blue' is being changed: lock /run/chaos/lans/lan100.lock: held by process .*flock" \
    chaos lan peer add blue 10.98.0.2
  answers_in_time
  # Guests come and go without it.
  create b --vif lan=blue
  members_are blue 2
  chaos destroy a b
  kill $holder
  pkill -P $holder || :
  wait_until 20 eval '[[ $(lan blue .up) == false ]]'
}

lock_is_held() { ! flock -n /run/chaos/lans/lan100.lock true; }

test_port_that_is_taken_is_refused_with_its_holder() {
  lan_setup
  ip link add theirs type vxlan external dstport 4789
  ip link set theirs up
  refused 4 "port: UDP port taken by VXLAN interface 'theirs'.*: '4789'" chaos lan create blue --vni 100
  ip link delete theirs
  chaos lan create blue --vni 100 >/dev/null
}

test_attached_interface_is_what_it_is_not_what_it_is_called() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  ip link add nic0 type veth peer name nic1
  ip link property add dev nic0 altname plug
  chaos lan attach blue plug >/dev/null
  expect_equal attached nic0 "$(lan blue '.attached | join(",")')"
  chaos lan attach blue nic0 >/dev/null
  expect_equal attached nic0 "$(lan blue '.attached | join(",")')"
  # At once: left down it is set up again, and an interface that is up keeps its name.
  printf 'link set nic0 down\nlink set nic0 name nic9\n' | ip -batch -
  wait_until 20 eval '[[ $(lan blue ".attached | join(\",\")") == nic9 ]]'
  chaos lan detach blue nic9
  [[ ! -e /sys/class/net/nic9/master ]] || fail 'a detached interface is on the LAN'
  # One that got an address of the host meanwhile stays where it is.
  chaos lan attach blue nic9 >/dev/null
  # The address first: without one it is put back on the LAN at once.
  ip addr add 10.99.0.1/24 dev nic9
  ip link set nic9 nomaster
  chaos lan peer add blue 10.98.0.2
  [[ ! -e /sys/class/net/nic9/master ]] || fail 'the host is cut off'
  wait_until 20 eval '[[ $(lan blue .state) == waiting ]]'
  [[ $(lan blue .reason) == *"carries this host's own address 10.99.0.1"* ]] || fail "it waits for $(lan blue .reason)"
  # Guests do not.
  create a --vif lan=blue
  chaos destroy a
  chaos lan detach blue nic9
  ip link delete nic9
}

test_refusals() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  chaos lan create local1 --mode local >/dev/null
  refused 2 "vni.*'0'" chaos lan create red --vni 0
  refused 2 "vni.*'16777216'" chaos lan create red --vni 16777216
  refused 4 "vni: taken by LAN 'blue': '100'" chaos lan create red --vni 100
  refused 4 "name: taken: 'blue'" chaos lan create blue --vni 101
  refused 2 "mtu: above the 1450 that under0 leaves.*: '1451'" chaos lan create red --mtu 1451
  refused 2 "name: longer than 63 characters" chaos lan create "$(printf 'x%.0s' {1..64})"
  refused 2 "name" chaos lan create a/b
  refused 2 "mode.*'mesh'" chaos lan create red --mode mesh
  refused 2 "port.*'65536'" chaos lan create red --port 65536
  refused 2 "device.*'vtep'" chaos lan create red --vtep $vtep --device $underlay
  refused 4 "vtep: not an address of this host: '192.0.2.1'" chaos lan create red --vtep 192.0.2.1
  refused 4 "device: no such interface: 'eth99'" chaos lan create red --device eth99
  refused 2 "address: not of the family of this host's 10.98.0.1: 'fd98::2'" chaos lan peer add blue fd98::2
  refused 2 "address: this host's own: '10.98.0.1'" chaos lan peer add blue $vtep
  refused 4 "mode 'local'" chaos lan peer add local1 10.98.0.2
  refused 3 "no such peer: '10.98.0.9'" chaos lan peer remove blue 10.98.0.9
  refused 3 "no such LAN: 'green'" chaos lan info green
  refused 3 "no such LAN: 'green'" chaos lan delete green
  refused 3 "vifs\[0\].lan: no such LAN: 'green'" chaos create --image $host_image --vif lan=green
  refused 2 "bridge" chaos create --image $host_image --vif "lan=blue,bridge=$bridge"
  create a --vif lan=blue,mac=52:54:00:00:00:01
  refused 4 "mac: on LAN 'blue' already, guest 'a': '52:54:00:00:00:01'" \
    chaos create --image $host_image --vif lan=blue,mac=52:54:00:00:00:01
  namespace_join c blue 10.5.0.9/24 >/dev/null
  mac=$(ip -n c -j link show eth0 | jq -r '.[0].address')
  refused 4 "mac: on LAN 'blue' already, container c: '$mac'" \
    chaos create --image $host_image --vif "lan=blue,mac=$mac"
  namespace_leave c blue
  refused 4 "LAN 'blue' has members: guest a" chaos lan delete blue
  chaos lan delete blue --force
  expect_equal 'the guest lives' running "$(info a .state)"
  # Made again, it gets its guest back.
  chaos lan create blue --vni 100 >/dev/null
  expect_equal members a "$(lan blue '.members[0].name')"
  chaos destroy a
}

test_br_netfilter_that_drops_is_said() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  expect_equal warnings 0 "$(lan blue '.warnings | length')"
  modprobe br_netfilter
  sysctl -qw net.bridge.bridge-nf-call-iptables=1
  expect_equal 'warnings while nothing drops' 0 "$(lan blue '.warnings | length')"
  nft add table ip filter
  nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'
  expect_equal warnings 1 "$(lan blue '.warnings | length')"
  [[ $(lan blue '.warnings[0]') == *br_netfilter*bridge-nf-call-iptables=0* ]] || fail "$(lan blue '.warnings[0]')"
  said=$(chaos lan create red --vni 101 2>&1 >/dev/null)
  [[ $said == *'br_netfilter'* ]] || fail "create said: $said"
  nft delete table ip filter
  sysctl -qw net.bridge.bridge-nf-call-iptables=0
  rmmod br_netfilter
}

test_containers_of_podman_and_containerd_meet_a_guest() {
  lan_setup
  chaos lan create blue --vni 100 >/dev/null
  create a --vif lan=blue,ip=10.5.0.2/24
  cni_plugin chaos-cni
  cni_network blue '{"type": "chaos-cni", "ipam": {"type": "host-local",
    "ranges": [[{"subnet": "10.5.0.0/24", "rangeStart": "10.5.0.100"}]]}}'
  podman_image
  podman_run p blue
  containerd_start
  containerd_run d
  podman exec p ping -c 1 -W 5 10.5.0.2
  containerd_exec d ping -c 1 -W 5 10.5.0.2
  expect_equal 'containers on the LAN' 2 "$(lan blue '[.members[] | select(.kind == "container")] | length')"
  expect_equal 'container MTU' 1450 "$(podman exec p cat /sys/class/net/eth0/mtu)"
  podman_remove p
  containerd_remove d
  # containerd's ctr never calls DEL; the interface went with the namespace.
  alone() { [[ $(lan blue '.members | length') == 1 ]]; }
  wait_until 20 alone
  chaos destroy a
  # So does a LAN's last member, and nobody says so.
  namespace_join c blue 10.5.0.9/24 >/dev/null
  expect_equal 'VXLAN device with a member' true "$(lan blue .up)"
  ip netns delete c
  down() { [[ $(lan blue .up) == false ]]; }
  wait_until 40 down
}

test_LAN_spans_nothing_but_this_host_when_local() {
  lan_setup
  chaos lan create here --mode local --vni 300 >/dev/null
  expect_equal devices 1 "$(lan_devices)"
  create a --vif lan=here,ip=10.5.0.2/24
  namespace_join c here 10.5.0.9/24 >/dev/null
  expect_equal mtu 1500 "$(info a '.vifs[0].mtu')"
  wait_until 20 reaches c 10.5.0.2
  chaos destroy a
  namespace_leave c here
  refused 2 "vtep" chaos lan create there --mode local --vtep $vtep
}
