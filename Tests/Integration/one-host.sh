# LANs on one host, for tests of them: sourced.

# Every test starts with an underlay of its own and ends without LANs.
underlay=under0
vtep=10.98.0.1

lan_setup() {
  lan_setup_underlay
  lan_clean_up
}

lan_setup_underlay() {
  ip link add $underlay type dummy 2>/dev/null || :
  ip addr replace $vtep/24 dev $underlay
  ip -6 addr replace fd98::1/64 dev $underlay nodad
  ip link set $underlay up
  # It is where everything goes, so that LANs need not be told.
  ip route replace default dev $underlay
}

lan_clean_up() {
  local name
  for name in $(chaos lan list --format json | jq -r '.lans[].name'); do chaos lan delete "$name" --force; done
}

lan() { chaos lan info "$1" --format json | jq -r "$2"; }

# lan_devices: how many interfaces LANs have.
lan_devices() { ls /sys/class/net | grep -Ec '^(lan|vxlan)[0-9]' || :; }

# A network namespace joined to a LAN through the plug-in: namespace_join NAME LAN ADDRESS/PREFIX [IFNAME]
namespace_join() {
  ip netns add "$1" 2>/dev/null || :
  jq -n --arg lan "$2" --arg address "$3" '{cniVersion: "1.0.0", name: "test", type: "chaos-cni", lan: $lan, address: $address}' |
    CNI_COMMAND=ADD CNI_CONTAINERID="$1" CNI_NETNS="/run/netns/$1" CNI_IFNAME="${4:-eth0}" CNI_PATH=/usr/lib/cni chaos-cni
}

# namespace_leave NAME LAN [IFNAME]
namespace_leave() {
  jq -n --arg lan "$2" '{cniVersion: "1.0.0", name: "test", type: "chaos-cni", lan: $lan}' |
    CNI_COMMAND=DEL CNI_CONTAINERID="$1" CNI_NETNS="/run/netns/$1" CNI_IFNAME="${3:-eth0}" CNI_PATH=/usr/lib/cni chaos-cni
  ip netns delete "$1"
}

reaches() { ip netns exec "$1" ping -q -c 1 -W 2 "$2" >/dev/null 2>&1; }
