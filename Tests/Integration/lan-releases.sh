# Hosts: 2 --release bookworm,trixie
# Soak: three minutes, most of them waiting for watchfrr.
# One LAN by EVPN between a Debian 12 and a Debian 13 host: FRR 8.4 reflects for 10.3, Podman 4 and 5 join containers.

evpn_on_both() {
  on 1 '[[ $(chaos lan evpn status --format json | jq .enabled) == true ]] || chaos lan evpn enable --as 65000 --reflector >/dev/null'
  on 2 "[[ \$(chaos lan evpn status --format json | jq .enabled) == true ]] ||
    chaos lan evpn enable --as 65000 --neighbor $(address 1) >/dev/null"
  for host in 1 2; do wait_on $host 90 'established 1'; done
}

# On host H the guest 10.5.0.H and the container 10.5.1.H.
members_on_both() {
  evpn_on_both
  on_all 'chaos lan create blue --vni 100 --mode evpn --vtep $BOX_ADDRESS >/dev/null; podman_image
    lan_network blue blue "10.5.1.$BOX_HOST/16"; podman_run container blue; create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
}

# container_reaches HOST SECONDS ADDRESS
container_reaches() { wait_on "$1" "$2" "podman exec container ping -q -c 1 -W 2 $3"; }

# guest_reaches HOST ADDRESS [SIZE]: from a guest that comes for it and stays.
guest_reaches() {
  on "$1" "chaos create --name pinger-$2 --image images/build/ping.elf --vif lan=blue,ip=10.5.2.$1/16 \
    --cmdline 'ping=$2 count=5${3:+ size=$3}' >/dev/null"
  wait_on "$1" 60 "chaos logs pinger-$2 | grep -q '5 sent, 5 received'"
  on "$1" "chaos destroy pinger-$2"
}

test_guests_and_containers_of_both_releases_reach_each_other() {
  members_on_both
  on 1 '[[ $(podman --version) == *" 4."* && $(/usr/lib/frr/bgpd --version) == *" 8."* ]]'
  on 2 '[[ $(podman --version) == *" 5."* && $(/usr/lib/frr/bgpd --version) == *" 10."* ]]'
  local host other
  for host in 1 2; do
    other=$((3 - host))
    container_reaches $host 60 10.5.0.$other
    container_reaches $host 60 10.5.1.$other
    # As large as they may be.
    guest_reaches $host 10.5.0.$other 1422
    guest_reaches $host 10.5.1.$other
    on $host 'expect_equal MTU 1450 "$(podman exec container cat /sys/class/net/eth0/mtu)"
      expect_equal members 2 "$(chaos lan info blue --format json | jq ".members | length")"'
  done
}

# The container of each host pings guest and container of the other until it is told to stop.
start_pings() {
  on_all 'namespace=$(podman inspect container | jq ".[0].State.Pid"); : >/tmp/pings
    for kind in 0 1; do
      nsenter -n -t "$namespace" ping -i 0.2 10.5.$kind.$((3 - BOX_HOST)) >/tmp/pings.$kind 2>&1 &
      echo $! >>/tmp/pings
    done
    disown -a
    for kind in 0 1; do wait_until 30 grep -q "icmp_seq=3 " /tmp/pings.$kind; done'
}

stop_pings() {
  on_all 'kill -INT $(</tmp/pings)
    for kind in 0 1; do
      wait_until 30 grep "packet loss" /tmp/pings.$kind
      lost=$(grep -o "[0-9.]*% packet loss" /tmp/pings.$kind); lost=${lost%%[.%]*}
      ((lost <= 10)) || fail "$lost% of the pings to 10.5.$kind.$((3 - BOX_HOST)) lost"
    done'
}

test_bgpd_of_either_release_may_die() {
  members_on_both
  local victim other
  for victim in 2 1; do
    other=$((3 - victim))
    for host in 1 2; do
      for kind in 0 1; do container_reaches $host 60 10.5.$kind.$((3 - host)); done
    done
    start_pings
    # One guest comes while nobody announces it, on each host.
    on $victim 'pidof bgpd >/tmp/bgpd; kill -9 $(</tmp/bgpd)
      chaos create --name early --image '"$host_image"' --vif lan=blue,ip=10.5.3.$BOX_HOST/16 >/dev/null'
    on $other 'chaos create --name early --image '"$host_image"' --vif lan=blue,ip=10.5.3.$BOX_HOST/16 >/dev/null'
    # watchfrr starts it again.
    wait_on $victim 120 'pid=$(pidof bgpd) && [[ $pid != $(</tmp/bgpd) ]]'
    for host in 1 2; do wait_on $host 120 'established 1'; done
    stop_pings
    on_all 'create late --vif lan=blue,ip=10.5.4.$BOX_HOST/16'
    for host in 1 2; do
      for late in 3 4; do container_reaches $host 60 10.5.$late.$((3 - host)); done
    done
    # Routing tells it again: nothing is only held.
    for host in 1 2; do wait_on $host 60 '[[ $(chaos lan evpn status --format json | jq "[.routes[] | select(.held)] | length") == 0 ]]'; done
    on_all 'chaos destroy early late >/dev/null'
  done
}
