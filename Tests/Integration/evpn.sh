# EVPN as a host sees it, for tests of LANs: sourced in the shell of each host.

# established N: so many sessions are.
established() {
  [[ $(chaos lan evpn status --format json | jq '[.sessions[] | select(.state == "Established")] | length') == "$1" ]]
}

# leads_to VNI MAC ADDRESS: the VXLAN device's table sends frames for the MAC to that host.
leads_to() { bridge fdb show dev "vxlan$1" | grep -q "^$2 dst $3 "; }
