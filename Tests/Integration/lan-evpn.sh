# Hosts: 3 --subnets 2
# LANs whose hosts tell each other by BGP EVPN where everybody is: host 1 reflects, the others know only of it.

guest_mac() { echo "52:54:00:00:0$1:0$2"; }

# EVPN on all hosts, once; each host that joins needs to know the reflector and nobody needs to know of it.
evpn_everywhere() {
  local reflector host
  reflector=$(address 1)
  on 1 '[[ $(chaos lan evpn status --format json | jq .enabled) == true ]] || chaos lan evpn enable --as 65000 --reflector >/dev/null'
  for host in 2 3; do
    on $host "[[ \$(chaos lan evpn status --format json | jq .enabled) == true ]] ||
      chaos lan evpn enable --as 65000 --neighbor $reflector >/dev/null"
  done
  wait_on 1 90 'established 2'
  for host in 2 3; do wait_on $host 90 'established 1'; done
}

# lan_everywhere NAME VNI: the LAN on all hosts, by EVPN because that is enabled.
lan_everywhere() {
  on_all "chaos lan create $1 --vni $2 --vtep \$BOX_ADDRESS >/dev/null; [[ \$(chaos lan info $1 --format json | jq -r .mode) == evpn ]]"
}

# knows HOST SECONDS VNI MAC ADDRESS: the host's forwarding table leads the MAC to the address.
knows() { wait_on "$1" "$2" "leads_to $3 $4 $5"; }
forgets() { wait_on "$1" "$2" "! bridge fdb show dev vxlan$3 | grep -q '^$4 '"; }

test_silent_guest_is_known_before_its_first_frame_and_until_it_is_destroyed() {
  evpn_everywhere
  lan_everywhere blue 100
  on 1 'chaos create --name one --image images/build/noop.elf --vif lan=blue >/dev/null'
  on 3 'chaos create --name three --image images/build/noop.elf --vif lan=blue >/dev/null'
  on 2 "chaos create --name silent --image images/build/noop.elf --vif lan=blue,mac=$(guest_mac 2 1) >/dev/null"
  second=$(address 2)
  knows 1 30 100 "$(guest_mac 2 1)" "$second"
  knows 3 30 100 "$(guest_mac 2 1)" "$second"
  on 2 'said=$(cat /sys/class/net/$(chaos info silent --format json | jq -r ".vifs[0].tap")/statistics/rx_packets)
    expect_equal "frames the guest sent" 0 "$said"'
  # Nobody tends it, and the bridge forgets what it hears within a second.
  on 2 'kill_chaosd; ip link set lan100 type bridge ageing_time 100'
  on_all 'ip link set lan100 type bridge ageing_time 100'
  sleep 5
  knows 1 1 100 "$(guest_mac 2 1)" "$second"
  knows 3 1 100 "$(guest_mac 2 1)" "$second"
  on 2 'start_chaosd; chaos destroy silent'
  forgets 1 30 100 "$(guest_mac 2 1)"
  forgets 3 30 100 "$(guest_mac 2 1)"
  # With its last member the host leaves the flood lists, too.
  wait_on 1 30 "! bridge fdb show dev vxlan100 | grep -q 'dst $second'"
}

test_guests_and_containers_reach_each_other_across_hosts() {
  evpn_everywhere
  lan_everywhere blue 100
  on_all 'podman_image; lan_network blue blue "10.5.1.$BOX_HOST/16"
    podman_run container blue; create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
  wait_on 1 60 'podman exec container ping -c 1 -W 2 10.5.0.2'
  wait_on 1 60 'podman exec container ping -c 1 -W 2 10.5.1.3'
  wait_on 3 60 'podman exec container ping -c 1 -W 2 10.5.1.2'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.3 count=5" >/dev/null'
  wait_on 1 60 'chaos logs pinger | grep -q "5 sent, 5 received"'
  # Full size with the don't-fragment bit; one byte more is answered by the kernel on the way, not swallowed.
  on 1 'expect_equal MTU 1450 "$(podman exec container cat /sys/class/net/eth0/mtu)"'
  on 1 'chaos create --name full --image images/build/ping.elf --vif lan=blue,ip=10.5.0.12/16 \
    --cmdline "ping=10.5.0.2 count=5 size=1422" >/dev/null'
  wait_on 1 60 'chaos logs full | grep -q "5 sent, 5 received"'
  on 1 'chaos create --name over --image images/build/ping.elf --vif lan=blue,ip=10.5.0.13/16 \
    --cmdline "ping=10.5.0.2 count=5 size=1423" >/dev/null'
  wait_on 1 60 'chaos logs over | grep -q "frag needed.*1450"'
}

test_nothing_reaches_a_host_without_members_or_another_LAN() {
  evpn_everywhere
  lan_everywhere blue 100
  lan_everywhere red 200
  # The same address on both; host 3 is on neither.
  for host in 1 2; do
    on $host "create blue$host --vif lan=blue,mac=$(guest_mac 9 $host),ip=10.5.0.$host/16
      create red$host --vif lan=red,mac=$(guest_mac 9 $host),ip=10.5.0.$host/16"
  done
  on 3 'nft add table netdev count; nft "add chain netdev count in { type filter hook ingress device eth0 priority 0; }"
    nft add rule netdev count in udp dport 4789 counter'
  knows 1 30 100 "$(guest_mac 9 2)" "$(address 2)"
  knows 1 30 200 "$(guest_mac 9 2)" "$(address 2)"
  on 2 'before=$(cat /sys/class/net/$(chaos info red2 --format json | jq -r ".vifs[0].tap")/statistics/tx_packets); echo $before >/tmp/before'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.2 count=50 interval=50" >/dev/null'
  wait_on 1 60 'chaos logs pinger | grep -q "50 sent, 50 received"'
  on 2 'after=$(cat /sys/class/net/$(chaos info red2 --format json | jq -r ".vifs[0].tap")/statistics/tx_packets)
    ((after - $(cat /tmp/before) < 25)) || fail "$((after - $(cat /tmp/before))) packets reached the other LAN"'
  # Broadcasts, too: EVPN sends them to members only.
  on 1 'chaos create --name seeker --image images/build/ping.elf --vif lan=blue,ip=10.5.0.12/16 \
    --cmdline "ping=10.5.0.99 count=10" >/dev/null; sleep 4'
  on 3 'expect_equal "VXLAN packets at a host without members" 0 "$(nft -j list chain netdev count in | jq "[.. | .counter? // empty | .packets] | add")"
    nft delete table netdev count'
}

test_guests_keep_talking_while_bgpd_is_away() {
  evpn_everywhere
  lan_everywhere blue 100
  on_all 'create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
  on_all 'ip netns add talker; jq -n "{cniVersion: \"1.0.0\", name: \"t\", type: \"chaos-cni\", lan: \"blue\", address: \"10.5.1.$BOX_HOST/16\"}" |
    CNI_COMMAND=ADD CNI_CONTAINERID=talker CNI_NETNS=/run/netns/talker CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni chaos-cni >/dev/null'
  for host in 1 2 3; do
    for other in 1 2 3; do wait_on $host 60 "ip netns exec talker ping -q -c 1 -W 2 10.5.0.$other"; done
  done
  # A client's, then the reflector's.
  for victim in 2 1; do
    on_all 'for other in 1 2 3; do ip netns exec talker ping -i 0.2 -w 45 10.5.0.$other >/tmp/pings.$other 2>&1 & done; disown -a'
    sleep 2
    on $victim 'kill -9 $(pidof bgpd)'
    # watchfrr starts it again; sessions and routes come back.
    wait_on 1 300 'established 2'
    for host in 2 3; do wait_on $host 300 'established 1'; done
    for host in 1 2 3; do
      on $host 'for other in 1 2 3; do
          wait_until 120 grep -q "packet loss" /tmp/pings.$other
          lost=$(grep -o "[0-9.]*% packet loss" /tmp/pings.$other); lost=${lost%%[.%]*}
          ((lost <= 10)) || fail "$lost% lost to host $other while the bgpd of host '$victim' was away"
        done'
    done
    sleep 15
    on_all 'expect_equal "routes still held" 0 "$(chaos lan evpn status --format json | jq "[.routes[] | select(.held)] | length")"'
    for host in 1 2 3; do
      for other in 1 2 3; do wait_on $host 60 "ip netns exec talker ping -q -c 1 -W 2 10.5.0.$other"; done
    done
  done
}

# As by hand, without FRR's scripts, which read frr.conf to it.
test_bgpd_that_comes_up_without_its_settings_gets_them() {
  evpn_everywhere
  on 3 'pkill -9 watchfrr; kill -9 $(pidof bgpd); /usr/lib/frr/bgpd -d -F traditional -A 127.0.0.1'
  wait_on 3 90 'established 1'
  wait_on 1 90 'established 2'
}

test_host_that_leaves_and_comes_back_is_known_again() {
  evpn_everywhere
  lan_everywhere blue 100
  on_all "create guest --vif lan=blue,mac=52:54:00:00:01:0\$BOX_HOST,ip=10.5.0.\$BOX_HOST/16"
  third=$(address 3)
  knows 1 30 100 52:54:00:00:01:03 "$third"
  on 3 'chaos lan evpn disable'
  forgets 1 60 100 52:54:00:00:01:03
  forgets 2 60 100 52:54:00:00:01:03
  knows 1 1 100 52:54:00:00:01:02 "$(address 2)"
  on 3 "chaos lan evpn enable --as 65000 --neighbor $(address 1) >/dev/null"
  knows 1 90 100 52:54:00:00:01:03 "$third"
  knows 2 90 100 52:54:00:00:01:03 "$third"
  on 3 'knows_two() { bridge fdb show dev vxlan100 | grep -q 52:54:00:00:01:02; }; wait_until 60 knows_two'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.3 count=5" >/dev/null'
  wait_on 1 60 'chaos logs pinger | grep -q "5 sent, 5 received"'
}

test_evpn_keeps_what_the_user_wrote_into_FRRs_configuration() {
  on 2 'cp -a /etc/frr/frr.conf /tmp/frr.before; printf "! mine\nip prefix-list MINE seq 5 permit 10.0.0.0/8\n" >>/etc/frr/frr.conf
    chaos lan evpn enable --as 65000 --neighbor '"$(address 1)"' >/dev/null
    grep -q "^! mine$" /etc/frr/frr.conf
    chaos lan evpn disable
    grep -q "^ip prefix-list MINE" /etc/frr/frr.conf
    ! grep -q "65000" /etc/frr/frr.conf
    refused 2 "as" chaos lan evpn enable --as 0 --reflector
    refused 2 "neighbor" chaos lan evpn enable --as 65000
    refused 2 "neighbor" chaos lan evpn enable --as 65000 --neighbor 10.99.0.300
    cp -a /tmp/frr.before /etc/frr/frr.conf'
  evpn_everywhere
}
