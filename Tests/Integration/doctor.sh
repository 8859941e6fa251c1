# Set-ups that are broken in dom0: each is found, and nothing else is.

# found: the checks that failed, in their order.
found() { chaos doctor --format json | jq -r '[.checks[] | select(.verdict == "failed").id] | join(" ")'; }
# What the box is not like a host in, so that each test says what it adds.
usual=$(found)
# What is broken from here on is mended, whatever comes of the test.
before() { trap mend_host EXIT; }
# finds ID [PATTERN]: it fails beside what failed before, and says something that matches.
finds() {
  local id=$1 said expected
  said=$(chaos doctor --format json || :)
  expected=$(jq -r --arg id "$id" --arg usual "$usual" \
    '[.checks[].id | select(. == $id or (. as $one | $usual | split(" ") | index($one)))] | join(" ")' <<<"$said")
  expect_equal "checks that fail with $id" "$expected" \
    "$(jq -r '[.checks[] | select(.verdict == "failed").id] | join(" ")' <<<"$said")"
  said=$(jq -r --arg id "$id" '.checks[] | select(.id == $id) | "\(.found)\nmend: \(.remedy)"' <<<"$said")
  [[ $said =~ ${2:-.} ]] || fail "$id says: $said"
}
# Whatever a test broke and did not mend, having failed.
mend_host() {
  local path
  for path in /dev/vhost-net /dev/net/tun /dev/xen/evtchn /var/lib/chaos; do
    [[ ! -e $path.away ]] || { rm -rf $path; mv $path.away $path; }
  done
  for path in /var/log/chaos /var/lib/chaos /etc/chaos /usr/lib/frr/bgpd; do
    mountpoint -q $path && umount $path
  done
  mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
  [[ ! -e /tmp/passwd ]] || mv /tmp/group /tmp/passwd /etc/
  rm -f "${plugged[@]}" /etc/chaos/lans/torn.json
  pkill -CONT -x chaosd
  iptables -P FORWARD ACCEPT
  daemon_answers || start_chaosd
}
plugged=()

same() { expect_equal 'checks that fail afterwards' "$usual" "$(found)"; }

# The box has chaos's plug-ins where Podman does not look, unless a test put them there.
plug_in() {
  local place
  for place in /opt/cni/bin/chaos-cni /usr/lib/netavark/chaos; do
    [[ ! -e $place ]] || continue
    mkdir -p "${place%/*}"
    ln -s "$(command -v chaos-cni)" $place
    plugged+=("$place")
  done
}

test_host_without_faults_has_none() {
  plug_in
  trap mend_host EXIT
  expect_equal faults '' "$(found)"
  chaos doctor >/tmp/doctor
  expect_equal lines 1 "$(wc -l </tmp/doctor)"
  grep -q '^[0-9]* checks: .* ok, 0 errors, 0 warnings, 0 unknown$' /tmp/doctor || fail "$(cat /tmp/doctor)"
  (($(chaos doctor --all | wc -l) > 20))
  refused 2 "expected text or json" chaos doctor --format yaml
  refused 2 "only with --doctor" chaosd --all
  # A program without a chaosd beside it has none to ask.
  cp "$(command -v chaos)" /tmp/chaos
  refused 7 'no program chaosd' env PATH=/nowhere /tmp/chaos doctor
  rm /tmp/chaos
}

test_podman_without_plug_ins_is_found() {
  plug_in
  before
  # Those of a package, or of another test, are not this test's to move.
  ((${#plugged[@]} == 2)) || return 0
  rm "${plugged[@]}"
  finds podman 'no plug-in of chaos'
}

test_missing_devices_are_found() {
  before
  for device in vhost-net:/dev/vhost-net tun:/dev/net/tun xen-evtchn:/dev/xen/evtchn; do
    mv "${device#*:}" "${device#*:}.away"
    finds "${device%%:*}" "${device#*:} is missing.*modprobe"
    ! chaos doctor >/dev/null || fail 'an error leaves the status 0'
    mv "${device#*:}.away" "${device#*:}"
  done
  mv /dev/vhost-net /dev/vhost-net.away
  touch /dev/vhost-net
  finds vhost-net 'not a device'
  mv /dev/vhost-net.away /dev/vhost-net
  same
}

test_missing_accounts_are_found() {
  before
  cp /etc/group /etc/passwd /tmp/
  sed -i '/^chaos:/d' /etc/group
  finds group 'groupadd'
  cp /tmp/group /etc/group
  sed -i '/^chaos-backend:/d' /etc/passwd
  finds backend-user 'useradd'
  mv /tmp/group /tmp/passwd /etc/
  same
}

test_disks_without_room_are_found() {
  before
  for folder in log:/var/log/chaos state:/var/lib/chaos settings:/etc/chaos; do
    mount -t tmpfs -o size=64k tmpfs "${folder#*:}"
    finds "space-${folder%%:*}" 'KiB left'
    mount -o remount,size=64m,nr_inodes=8 "${folder#*:}"
    finds "space-${folder%%:*}" 'more files'
    mount -o remount,size=64m,nr_inodes=8k,ro "${folder#*:}"
    finds "space-${folder%%:*}" 'read-only'
    umount "${folder#*:}"
  done
  mv /var/lib/chaos /var/lib/chaos.away
  ln -s /nowhere /var/lib/chaos
  finds space-state 'is no folder'
  rm /var/lib/chaos
  mv /var/lib/chaos.away /var/lib/chaos
  same
}

test_what_only_root_may_see_is_unknown_to_others() {
  before
  said=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$(command -v chaosd)" --doctor --format json)
  expect_equal 'what fails for others' "$usual" "$(jq -r '[.checks[] | select(.verdict == "failed").id] | join(" ")' <<<"$said")"
  for id in tun vhost-net dom0-memory chaosd health chaosd-program chaos-backend; do
    expect_equal "$id" unknown "$(jq -r --arg id $id '.checks[] | select(.id == $id).verdict' <<<"$said")"
  done
}

test_chaosd_that_does_not_answer_is_found() {
  before
  local pid
  pid=$(pidof chaosd)
  kill -STOP $pid
  SECONDS=0
  finds chaosd "process $pid.*kill -CONT $pid"
  ((SECONDS < 15)) || fail "it took $SECONDS s"
  kill -CONT $pid
  kill_chaosd
  finds chaosd 'does not run'
  start_chaosd
  same
}

test_daemons_other_than_those_installed_are_found() {
  before
  local pid
  mkdir /tmp/old
  cp "$(command -v chaosd)" "$(command -v chaos-backend)" /tmp/old/
  kill_chaosd
  pkill -x chaos-backend || :
  gone() { ! pidof chaos-backend >/dev/null; }
  wait_until 20 gone
  PATH=/tmp/old:$PATH start_chaosd
  create web >/dev/null
  pid=$(pidof chaosd)
  rm /tmp/old/chaosd
  finds chaosd-program "process $pid"
  usual="chaosd-program${usual:+ $usual}"
  rm /tmp/old/chaos-backend
  finds backend-program "kill $(pidof chaos-backend)"
  chaos destroy web
  kill_chaosd
  pkill -x chaos-backend
  wait_until 20 gone
  rmdir /tmp/old
  start_chaosd
  usual=${usual#chaosd-program}
  usual=${usual# }
  same
}

test_guests_without_chaos_backend_are_found() {
  before
  create web >/dev/null
  kill_chaosd
  pkill -x chaos-backend
  gone() { ! pidof chaos-backend >/dev/null; }
  wait_until 20 gone
  usual+=${usual:+ }chaosd
  finds chaos-backend 'no network'
  start_chaosd
  chaos destroy web
}

test_socket_for_everybody_is_found() {
  before
  chmod 666 /run/chaos/chaosd.sock
  finds socket 'mode 666.*chmod 660'
  chmod 660 /run/chaos/chaosd.sock
  same
}

test_few_descriptors_are_found() {
  before
  prlimit --pid "$(pidof chaosd)" --nofile=1024
  pidof chaos-backend >/dev/null && prlimit --pid "$(pidof chaos-backend)" --nofile=1024
  finds descriptors 'enough for 113 guests'
  kill_chaosd
  pkill -x chaos-backend || :
  start_chaosd
  same
}

test_damaged_lans_are_found() {
  before
  mkdir -p /etc/chaos/lans
  echo '{' >/etc/chaos/lans/torn.json
  finds lan-files torn.json
  rm /etc/chaos/lans/torn.json
  same
}

test_lan_without_its_frr_is_found() {
  before
  [[ -x /usr/lib/frr/bgpd ]] || fail 'the box has no FRR'
  chaos lan create red --mode evpn --vtep 10.1.0.1 >/dev/null
  trap 'mend_host; chaos lan delete red' EXIT
  pidof bgpd >/dev/null || finds frr 'bgpd does not run'
  mount --bind /dev/null /usr/lib/frr/bgpd
  finds frr 'not installed'
  umount /usr/lib/frr/bgpd
}

test_packet_filter_in_the_way_is_found() {
  before
  modprobe br_netfilter
  iptables -P FORWARD DROP
  sysctl -qw net.bridge.bridge-nf-call-iptables=1
  finds bridge-filter 'hands LAN frames.*sysctl -w'
  iptables -P FORWARD ACCEPT
  sysctl -qw net.bridge.bridge-nf-call-iptables=0
  same
}

test_cgroup_of_old_is_found() {
  before
  umount -l /sys/fs/cgroup
  finds cgroup2 'mount -t cgroup2'
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  same
}
