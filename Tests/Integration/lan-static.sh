# Hosts: 2 --subnets 2
# LANs whose hosts know each other from lists of peers.

# A LAN of both hosts, each the other's peer.
lan_on_both() {
  on_all "chaos lan create $1 --vni $2 --mode static --vtep \$BOX_ADDRESS"
  on 1 "chaos lan peer add $1 $(address 2)"
  on 2 "chaos lan peer add $1 $(address 1)"
}

test_guests_and_containers_meet_across_subnets() {
  lan_on_both blue 100
  on_all 'cni_plugin chaos-cni; podman_image; cni_network blue "{\"type\": \"chaos-cni\", \"address\": \"10.5.1.$BOX_HOST/16\"}"'
  on_all 'podman_run container blue; create guest --vif lan=blue,ip=10.5.0.$BOX_HOST/16'
  wait_on 1 30 'podman exec container ping -c 1 -W 2 10.5.0.2'
  wait_on 1 30 'podman exec container ping -c 1 -W 2 10.5.1.2'
  wait_on 2 30 'podman exec container ping -c 1 -W 2 10.5.0.1'
  on 1 'podman exec container ping -c 1 -W 5 -s 1422 10.5.1.2'
}
