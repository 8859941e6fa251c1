# Hosts: 3 --subnets 2
# LANs whose hosts know each other from lists of peers.

# A LAN of hosts 1 and 2, each the other's peer.
lan_on_both() {
  for host in 1 2; do on $host "chaos lan create $1 --vni $2 --mode static --vtep \$BOX_ADDRESS"; done
  on 1 "chaos lan peer add $1 $(address 2)"
  on 2 "chaos lan peer add $1 $(address 1)"
}

test_guests_and_containers_meet_across_subnets() {
  lan_on_both blue 100
  for host in 1 2; do
    on $host 'podman_image; lan_network blue blue "10.5.1.$BOX_HOST/16"
      podman_run container blue; create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
  done
  wait_on 1 30 'podman exec container ping -c 1 -W 2 10.5.0.2'
  wait_on 1 30 'podman exec container ping -c 1 -W 2 10.5.1.2'
  wait_on 2 30 'podman exec container ping -c 1 -W 2 10.5.0.1'
  on 1 'podman exec container ping -c 1 -W 5 -s 1422 10.5.1.2'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.2 count=5" >/dev/null'
  pinged 1 pinger
}

# pinged HOST NAME: that guest's pings were all answered.
pinged() { wait_on "$1" 60 "chaos logs $2 | grep -Eq '(^|[^0-9])([0-9]+) sent, \\2 received'"; }

test_guests_meet_over_an_IPv6_underlay() {
  on_all 'chaos lan create six --vni 600 --mode static --vtep $BOX_ADDRESS6 >/dev/null'
  on 1 "chaos lan peer add six $(address6 2) >/dev/null"
  on 2 "chaos lan peer add six $(address6 1) >/dev/null"
  on_all 'create guest --vif lan=six,ip=10.6.0.$BOX_HOST/16'
  on 1 'expect_equal MTU 1430 "$(info guest ".vifs[0].mtu")"'
  on 1 'chaos create --name full --image images/build/ping.elf --vif lan=six,ip=10.6.0.11/16 \
    --cmdline "ping=10.6.0.2 count=5 size=1402" >/dev/null'
  pinged 1 full
}

test_known_unicast_goes_to_its_host_alone() {
  on_all 'chaos lan create blue --vni 100 --mode static --vtep $BOX_ADDRESS >/dev/null'
  for host in 1 2; do
    for peer in 1 2 3; do
      [[ $peer == "$host" ]] || on $host "chaos lan peer add blue $(address $peer) >/dev/null"
    done
  done
  on 2 'create guest --vif lan=blue,ip=10.5.0.2/16'
  on 3 'nft add table netdev count; nft "add chain netdev count in { type filter hook ingress device eth0 priority 0; }"
    nft add rule netdev count in udp dport 4789 counter'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.2 count=50 interval=50" >/dev/null'
  pinged 1 pinger
  # Only what is for everybody went there, of the fifty requests none.
  on 3 'frames=$(nft -j list chain netdev count in | jq "[.. | .counter? // empty | .packets] | add")
    nft delete table netdev count
    ((frames < 15)) || fail "$frames frames at a host without members"'
}

test_unlisted_host_is_not_reached() {
  lan_on_both blue 100 >/dev/null
  on_all 'chaos lan info blue >/dev/null 2>&1 || chaos lan create blue --vni 100 --mode static --vtep $BOX_ADDRESS >/dev/null
    create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
  on 1 'chaos create --name pinger --image images/build/ping.elf --vif lan=blue,ip=10.5.0.11/16 \
    --cmdline "ping=10.5.0.3 count=3" >/dev/null'
  wait_on 1 60 'chaos logs pinger | grep -q "sent, 0 received"'
}
