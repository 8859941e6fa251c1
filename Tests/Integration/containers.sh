# Containers in dom0, for tests of LANs: sourced in the shell of each host.
#
# Podman and containerd run as Debian has them, offline, with images made of busybox. Networks of Podman 4 and of
# containerd are CNI configurations in /etc/cni/net.d, whose plug-ins are looked for in /opt/cni/bin, then in /usr/lib/cni;
# Podman 5 has netavark.

container_image=busybox:test

# container_setup: what both want of the host, and Podman's settings. Repeating it changes nothing.
container_setup() {
  [[ ! -e /run/containers/ready ]] || return 0
  local backend=cni
  if [[ -x /usr/lib/podman/netavark ]]; then
    backend=netavark
    mkdir -p /usr/lib/netavark
    ln -sf "$(command -v chaos-netavark)" /usr/lib/netavark/chaos
  fi
  mkdir -p /run/containers /var/lib/containers /opt/cni/bin /etc/cni/net.d /etc/containers
  # Neither overlays nor image stores go on the overlay that is dom0's root.
  mountpoint -q /var/lib/containers || mount -t tmpfs tmpfs /var/lib/containers
  cat >/etc/containers/containers.conf <<END
[engine]
cgroup_manager = "cgroupfs"
events_backend = "file"
runtime = "crun"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024"]
[network]
network_backend = "$backend"
cni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
END
  cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
  touch /run/containers/ready
}

# cni_plugin PROGRAM: makes PROGRAM a plug-in under its own name.
cni_plugin() {
  mkdir -p /opt/cni/bin
  ln -sf "$(command -v "$1")" /opt/cni/bin/
}

# cni_network NAME CONFIGURATION [VERSION]: a network of one plug-in, whose configuration is the JSON text.
# Podman 4.3 speaks up to 0.4.0, containerd 1.6 up to 1.0.0.
cni_network() {
  jq -n --arg name "$1" --arg version "${3:-0.4.0}" --argjson plugin "$2" \
    '{cniVersion: $version, name: $name, plugins: [$plugin]}' >"/etc/cni/net.d/50-$1.conflist"
}

# lan_network NAME LAN ADDRESS/PREFIX: a network of Podman's on that LAN, whichever Podman this is, whose first container
# gets the address.
lan_network() {
  if [[ -x /usr/lib/podman/netavark ]]; then
    range_network "$1" "$2" "$3" "${3%/*}" "${3%/*}"
  else
    cni_plugin chaos-cni
    cni_network "$1" "{\"type\": \"chaos-cni\", \"lan\": \"$2\", \"address\": \"$3\"}"
  fi
}

# range_network NAME LAN SUBNET FIRST LAST: one that gives out the addresses from FIRST to LAST.
range_network() {
  if [[ -x /usr/lib/podman/netavark ]]; then
    podman network create --driver chaos --subnet "$3" --ip-range "$4-$5" --internal --opt "lan=$2" "$1" >/dev/null
  else
    cni_plugin chaos-cni
    cni_network "$1" "{\"type\": \"chaos-cni\", \"lan\": \"$2\", \"ipam\": {\"type\": \"host-local\",
      \"ranges\": [[{\"subnet\": \"$3\", \"rangeStart\": \"$4\", \"rangeEnd\": \"$5\"}]]}}"
  fi
}

# What is left of containers that are gone: chaos's records, and addresses that CNI's manager has given out.
container_records() { find /var/lib/chaos/cni -name '*.json' 2>/dev/null | wc -l; }
address_reservations() { find /var/lib/cni/networks -type f -name '[0-9]*.*' 2>/dev/null | wc -l; }

# A root file system of busybox alone, as a tar archive.
busybox_archive() {
  local root
  root=$(mktemp -d)
  mkdir -p "$root"/{bin,proc,sys,dev,tmp,etc}
  cp /bin/busybox "$root/bin"
  for tool in sh ping sleep ip cat nc arping udhcpc ifconfig true; do ln -s busybox "$root/bin/$tool"; done
  echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
  tar -C "$root" -cf - .
  rm -rf "$root"
}

# podman_image: makes the image once.
podman_image() {
  container_setup
  podman image exists "$container_image" || busybox_archive | podman import -q - "$container_image" >/dev/null
}

# podman_run NAME NETWORK [OPTION...]: a container that does nothing.
podman_run() {
  local name=$1 network=$2
  shift 2
  touch /run/containers/used
  podman run -d --name "$name" --network "$network" --cap-add NET_RAW "$@" "$container_image" /bin/sleep 100000 >/dev/null
}

podman_remove() { podman rm -f -t 0 "$@" >/dev/null; }

# containerd_start: the daemon, and the image in its store.
containerd_start() {
  container_setup
  containerd_answers || {
    mkdir -p /var/lib/containers/containerd /etc/containerd
    cat >/etc/containerd/config.toml <<'END'
version = 2
root = "/var/lib/containers/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
END
    setsid containerd >/var/log/containerd.log 2>&1 </dev/null &
    disown
    wait_until 60 containerd_answers
  }
  [[ -n $(ctr images list -q) ]] || containerd_image
}

containerd_answers() { ctr version >/dev/null 2>&1; }

# An image as `ctr images import` takes it: an OCI layout with one layer.
containerd_image() {
  local layout=/var/lib/containers/layout
  mkdir -p "$layout/blobs/sha256"
  busybox_archive >"$layout/layer"
  local layer config manifest
  layer=$(blob "$layout" <"$layout/layer")
  config=$(jq -cn --arg layer "sha256:${layer% *}" \
    '{architecture: "amd64", os: "linux", config: {Env: ["PATH=/bin"]}, rootfs: {type: "layers", diff_ids: [$layer]}}' |
    blob "$layout")
  manifest=$(jq -cn --arg config "sha256:${config% *}" --arg layer "sha256:${layer% *}" \
    --argjson configSize "${config#* }" --argjson layerSize "${layer#* }" \
    '{schemaVersion: 2, config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $configSize},
      layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $layer, size: $layerSize}]}' | blob "$layout")
  jq -cn --arg digest "sha256:${manifest% *}" --argjson size "${manifest#* }" --arg name "docker.io/library/$container_image" \
    '{schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
      annotations: {"io.containerd.image.name": $name}}]}' >"$layout/index.json"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  rm "$layout/layer"
  tar -C "$layout" -cf - . | ctr images import - >/dev/null
  rm -r "$layout"
}

# blob LAYOUT: stores its input under its digest; says "DIGEST SIZE".
blob() {
  local file digest
  file=$(mktemp -p "$1")
  cat >"$file"
  digest=$(sha256sum <"$file")
  mv "$file" "$1/blobs/sha256/${digest%% *}"
  echo "${digest%% *} $(stat -c %s "$1/blobs/sha256/${digest%% *}")"
}

# containerd_run NAME: a container that does nothing, on the first network of /etc/cni/net.d (ctr knows no other).
containerd_run() {
  ctr run -d --cni --cap-add CAP_NET_RAW "docker.io/library/$container_image" "$1" /bin/sleep 100000
}

# containerd_exec NAME COMMAND...
containerd_exec() {
  local name=$1
  shift
  ctr task exec --exec-id "exec$RANDOM$RANDOM" "$name" "$@"
}

containerd_remove() {
  ctr task kill -s KILL "$1" >/dev/null
  ctr task delete -f "$1" >/dev/null 2>&1 || :
  ctr container delete "$1"
}

# After each test. Neither is asked when no test ran a container: their answers take seconds here.
containers_clean_up() {
  local name
  if [[ -e /run/containers/used ]]; then
    podman rm -af -t 0 >/dev/null
    podman network prune -f >/dev/null
    rm -f /run/containers/used
  fi
  ! pidof containerd >/dev/null || for name in $(ctr container list -q); do containerd_remove "$name"; done
  # Not with the containers: containerd never tells a plug-in that a detached one is gone.
  rm -rf /etc/cni/net.d/* /var/lib/chaos/cni /var/lib/cni
}
